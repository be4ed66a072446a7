"""Downloads, against a real web server on this machine that serves small files of the published formats.

Each test's ``Origin`` names that server and the md5 of the files as they should be; what the server then does wrong
(cut, change, answer with a web page, drop the line, be gone) is real too.
"""

import gzip
import hashlib
import io
import logging
import socket
import ssl
import struct
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pooch
import pytest
import torch

from eureka_lib import paths
from eureka_lib.experiments import profiles
from eureka_lib.tasks import downloads, images
from eureka_lib.tasks.downloads import CIFAR10, FASHION_MNIST, MNIST, DataUnavailable

IMAGE_FILE, LABEL_FILE, TAR_FILE = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", "cifar-10-binary.tar.gz"
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (7, 28, 28), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9, 2], dtype=np.uint8)
PIXELS = {i: RNG.integers(0, 256, (2, 3, 32, 32), dtype=np.uint8) for i in range(1, 6)}  # by number of the batch


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def records(pixels: np.ndarray, labels: list) -> bytes:
    return b"".join(bytes([label]) + image.tobytes() for label, image in zip(labels, pixels, strict=True))


def tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def cifar_members() -> dict[str, bytes]:
    """As published (one folder, a text file beside the batches), but in descending order and with 2 images a batch."""
    batches = {f"cifar-10-batches-bin/data_batch_{i}.bin": records(PIXELS[i], [i, 9]) for i in (5, 4, 3, 2, 1)}
    test = {"cifar-10-batches-bin/test_batch.bin": records(PIXELS[1], [0, 7])}
    return {"cifar-10-batches-bin/batches.meta.txt": b"airplane\nautomobile\n"} | batches | test


def idx_files() -> dict[str, bytes]:
    test = {IMAGE_FILE: gzip.compress(idx(IMAGES)), LABEL_FILE: gzip.compress(idx(LABELS))}
    train = {"train-images-idx3-ubyte.gz": idx(IMAGES[:4] // 2), "train-labels-idx1-ubyte.gz": idx(LABELS[:4])}
    return test | {name: gzip.compress(data) for name, data in train.items()}


# For 127.0.0.1, by nobody; made for this test with openssl, and its key protects nothing.
SELF_SIGNED = """\
-----BEGIN CERTIFICATE-----
MIIBkDCCATagAwIBAgIUXRFXxIlBXJx0Jf850OmPnUqxxzYwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4xMCAXDTI2MTEyNTE4MjAxNVoYDzIxMjYxMTAx
MTgyMDE1WjAUMRIwEAYDVQQDDAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQaiK4EI14nMuiSpMlbDvyu9RGFdJdIg2Rp5XkOGstiEsrjB8Z+JKKg
iT0bQjUarSeDZL6MQLomLzbUfRtJWuvwo2QwYjAdBgNVHQ4EFgQUTsVhRRJPvxfv
AUFs8pR+sqMIQt0wHwYDVR0jBBgwFoAUTsVhRRJPvxfvAUFs8pR+sqMIQt0wDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0gAMEUC
IQCJO2T8hn5nFf3E5h1yBnalhv9y0OCpEldxfBtOuiLSJAIgY6mehfoY31zOvppy
U0ICONCej9zz5im99i9Ku+X+EKk=
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQDeovcN7lc+OvAIN
OTS1FHP+qXuwWAp9tXVCVRPDwbuhRANCAAQaiK4EI14nMuiSpMlbDvyu9RGFdJdI
g2Rp5XkOGstiEsrjB8Z+JKKgiT0bQjUarSeDZL6MQLomLzbUfRtJWuvw
-----END PRIVATE KEY-----
"""


class Server:
    """Answers ``/name`` with the next of ``answers[name]`` (the last one stays), and notes what was asked for."""

    def __init__(self):
        self.answers, self.asked, self.cut = {}, [], 0  # cut: bytes promised in the header but not sent
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.strip("/")
                outer.asked.append(name)
                if name not in outer.answers:
                    return self.send_error(404)
                answers = outer.answers[name]
                body = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) - outer.cut])

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def stop(self):
        if self.thread.is_alive():
            self.http.shutdown()
            self.thread.join()
            self.http.server_close()

    def publish(self, origin: downloads.Origin, files: dict[str, bytes]) -> downloads.Origin:
        """Serve ``files``; returns ``origin`` at this server, with their checksums."""
        self.answers = {name: [data] for name, data in files.items()}
        return replace(origin, base_url=self.url, md5={n: hashlib.md5(d).hexdigest() for n, d in files.items()})


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("EUREKA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("EUREKA_HEADLESS", "1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.stop()


def by_message(value: object) -> str:
    """A test's name from its message alone: compressed bytes hold the time, and pytest-xdist wants equal names."""
    return value if isinstance(value, str) else "data"


def cached(origin: downloads.Origin) -> list[str]:
    return sorted(path.name for path in (paths.data_dir() / origin.folder).iterdir())


def place(origin: downloads.Origin, files: dict[str, bytes]) -> None:
    folder = paths.data_dir() / origin.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("load, origin", [(downloads.load_mnist, MNIST), (downloads.load_fashion_mnist, FASHION_MNIST)])
def test_idx_data_sets_arrive_as_published(server, load, origin):
    origin = server.publish(origin, idx_files())
    images, labels = load("test", origin)
    assert images.dtype == np.uint8 and labels.dtype == np.int64
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    images, labels = load("train", origin)
    np.testing.assert_array_equal(images, IMAGES[:4] // 2)
    np.testing.assert_array_equal(labels, LABELS[:4])
    assert cached(origin) == sorted(idx_files())


def test_the_two_idx_data_sets_do_not_share_files_though_the_names_are_equal(server):
    mnist = server.publish(MNIST, idx_files())
    downloads.load_mnist("test", mnist)
    other = idx_files() | {IMAGE_FILE: gzip.compress(idx(255 - IMAGES))}
    fashion = server.publish(FASHION_MNIST, other)
    np.testing.assert_array_equal(downloads.load_fashion_mnist("test", fashion)[0], 255 - IMAGES)
    np.testing.assert_array_equal(downloads.load_mnist("test", mnist)[0], IMAGES)


def test_cifar10_arrives_as_published_with_batches_in_the_order_of_their_numbers(server):
    origin = server.publish(CIFAR10, {TAR_FILE: tar(cifar_members())})
    images, labels = downloads.load_cifar10("train", origin)
    assert images.shape == (10, 3, 32, 32) and images.dtype == np.uint8 and labels.dtype == np.int64
    np.testing.assert_array_equal(images, np.concatenate([PIXELS[i] for i in range(1, 6)]))
    assert labels.tolist() == [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    images, labels = downloads.load_cifar10("test", origin)
    np.testing.assert_array_equal(images, PIXELS[1])
    assert labels.tolist() == [0, 7]
    assert server.asked == [TAR_FILE] and cached(origin) == [TAR_FILE]  # one download; nothing unpacked


def test_what_is_cached_needs_no_server(server):
    origin = server.publish(MNIST, idx_files())
    first = downloads.load_mnist("test", origin)
    server.stop()
    again = downloads.load_mnist("test", origin)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert server.asked == [IMAGE_FILE, LABEL_FILE]


def test_one_line_says_what_is_downloaded_and_a_cache_hit_says_nothing(server, capfd, monkeypatch):
    pooch.get_logger().setLevel("INFO")  # as pooch comes
    monkeypatch.setattr(pooch.get_logger(), "handlers", [logging.StreamHandler()])  # to the stderr of this test
    origin = server.publish(CIFAR10, {TAR_FILE: tar(cifar_members())})
    downloads.load_cifar10("test", origin)
    out, err = capfd.readouterr()
    assert (out, err) == (f"downloading {server.url}{TAR_FILE}\n", "")
    downloads.load_cifar10("test", origin)
    assert capfd.readouterr() == ("", "")


def test_a_person_looking_on_sees_a_progress_bar(server, monkeypatch, capfd):
    monkeypatch.delenv("EUREKA_HEADLESS")
    downloads.load_cifar10("test", server.publish(CIFAR10, {TAR_FILE: tar(cifar_members())}))
    assert "100%" in capfd.readouterr().err


BAD_DOWNLOADS = {
    "truncated": (lambda good: good[:-20], "does not match the known hash", 2),
    "corrupted": (lambda good: good[:50] + bytes([good[50] ^ 1]) + good[51:], "does not match the known hash", 2),
    "web page": (lambda good: HTML, rf"failed: http\S*/{IMAGE_FILE}: expected gzip data, found a web page", 1),
    "empty": (lambda good: b"", "found nothing", 1),
}


@pytest.mark.parametrize("fault", BAD_DOWNLOADS)
def test_a_bad_download_is_refused_and_not_kept(server, fault):
    spoil, message, attempts = BAD_DOWNLOADS[fault]
    files = idx_files()
    origin = server.publish(MNIST, files)
    server.answers[IMAGE_FILE] = [spoil(files[IMAGE_FILE])]
    with pytest.raises(DataUnavailable, match=message) as caught:
        downloads.load_mnist("test", origin)
    assert f"{server.url}{IMAGE_FILE}" in str(caught.value)
    assert cached(origin) == [] and server.asked == [IMAGE_FILE] * attempts


def test_a_dropped_line_and_a_missing_file_are_reported_and_leave_nothing(server):
    origin = server.publish(MNIST, idx_files())
    server.cut = 100
    with pytest.raises(DataUnavailable, match="failed: .*IncompleteRead"):
        downloads.load_mnist("test", origin)
    server.answers.clear()
    with pytest.raises(DataUnavailable, match="404"):
        downloads.load_mnist("test", origin)
    assert cached(origin) == []


def test_a_second_try_cures_a_passing_fault(server):
    files = idx_files()
    origin = server.publish(MNIST, files)
    server.answers[IMAGE_FILE] = [files[IMAGE_FILE][:-20], files[IMAGE_FILE]]
    np.testing.assert_array_equal(downloads.load_mnist("test", origin)[0], IMAGES)
    assert server.asked == [IMAGE_FILE, IMAGE_FILE, LABEL_FILE]


def test_a_corrupt_file_in_the_cache_is_downloaded_again(server):
    files = idx_files()
    origin = server.publish(MNIST, files)
    place(origin, {IMAGE_FILE: files[IMAGE_FILE][:-20], LABEL_FILE: files[LABEL_FILE]})
    np.testing.assert_array_equal(downloads.load_mnist("test", origin)[0], IMAGES)
    assert server.asked == [IMAGE_FILE]
    assert (paths.data_dir() / "mnist" / IMAGE_FILE).read_bytes() == files[IMAGE_FILE]


def test_without_a_network_the_error_comes_at_once_and_says_what_to_do(server, capsys):
    origin = server.publish(MNIST, idx_files())
    server.stop()
    with pytest.raises(ConnectionRefusedError):  # the port is really closed
        socket.create_connection(("127.0.0.1", server.http.server_port), timeout=5)
    with pytest.raises(DataUnavailable, match="no connection") as caught:
        downloads.load_mnist("test", origin)
    assert capsys.readouterr().out == f"downloading {server.url}{IMAGE_FILE}\n", "no second try, for which pooch waits"
    message = str(caught.value)
    assert isinstance(caught.value, OSError) and 'source="digits"' in message and "checksum" not in message
    assert str(paths.data_dir() / "mnist") in message and server.url in message
    assert all(f"{name}  (md5 {md5})" in message for name, md5 in origin.md5.items())
    natural = replace(CIFAR10, base_url=server.url)
    with pytest.raises(DataUnavailable, match='or use the embedded photographs: indicator_source="photographs"'):
        downloads.load_cifar10("test", natural)


def test_a_certificate_that_is_not_trusted_is_not_called_no_connection(server, tmp_path):
    (tmp_path / "pem").write_text(SELF_SIGNED)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    origin = replace(server.publish(MNIST, idx_files()), base_url=server.url.replace("http:", "https:"))
    said = r"not secure \(certificate verify failed: self.signed certificate\).*REQUESTS_CA_BUNDLE"
    with pytest.raises(DataUnavailable, match=said) as caught:
        downloads.load_mnist("test", origin)
    assert "no connection" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_named(monkeypatch):
    monkeypatch.setenv("EUREKA_DATA", "/dev/null/data")
    with pytest.raises(DataUnavailable, match="MNIST cannot be kept in /dev/null/data/mnist: .*\n.*EUREKA_DATA name"):
        downloads.load_mnist("test")


def test_files_put_there_by_hand_are_accepted_if_they_are_the_right_ones(server):
    origin = server.publish(MNIST, idx_files())
    server.stop()
    place(origin, idx_files())
    np.testing.assert_array_equal(downloads.load_mnist("train", origin)[0], IMAGES[:4] // 2)
    wrong = gzip.compress(idx(IMAGES[:4]))
    place(origin, {"train-images-idx3-ubyte.gz": wrong})
    with pytest.raises(DataUnavailable, match="the checksum of .*train-images-idx3-ubyte.gz, already there, is wrong"):
        downloads.load_mnist("train", origin)
    assert (paths.data_dir() / "mnist" / "train-images-idx3-ubyte.gz").read_bytes() == wrong  # theirs to remove


@pytest.mark.parametrize("load", [downloads.load_mnist, downloads.load_fashion_mnist, downloads.load_cifar10])
def test_a_wrong_split_is_named_before_anything_is_downloaded(server, load):
    with pytest.raises(ValueError, match="unknown split 'tset': allowed are test, train; did you mean 'test'"):
        load("tset")
    assert not paths.data_dir().exists()


BAD_CIFAR = {
    "short member": ("train", {"data_batch_3.bin": records(PIXELS[3], [1, 2])[:-1]}, "data_batch_3.bin: 6145 bytes"),
    "empty member": ("test", {"test_batch.bin": b""}, "test_batch.bin: 0 bytes are not a whole number of 3073-byte"),
    "bad label": ("train", {"data_batch_2.bin": records(PIXELS[2], [9, 10])}, "batch_2.bin: label 10 of image 1 is"),
    "missing member": ("train", {"data_batch_4.bin": None}, "the archive lacks data_batch_4.bin"),
}


@pytest.mark.parametrize("fault", BAD_CIFAR)
def test_a_malformed_cifar10_archive_is_refused(server, fault):
    split, change, message = BAD_CIFAR[fault]
    members = cifar_members() | {f"cifar-10-batches-bin/{name}": data for name, data in change.items()}
    archive = tar({name: data for name, data in members.items() if data is not None})
    with pytest.raises(ValueError, match=message) as caught:
        downloads.load_cifar10(split, server.publish(CIFAR10, {TAR_FILE: archive}))
    assert str(paths.data_dir() / "cifar10" / TAR_FILE) in str(caught.value)


@pytest.mark.parametrize(
    "data, message",
    [
        (tar(cifar_members())[:-3000], "damaged or truncated"),
        (gzip.compress(bytes(range(256)) * 8), "damaged or truncated"),  # gzip, but no tar inside
        (HTML, "found a web page"),
    ],
    ids=by_message,
)
def test_a_damaged_cifar10_archive_is_named(tmp_path, data, message):
    path = tmp_path / "cifar.tar.gz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        downloads.read_cifar10(path, "train")
    assert str(path) in str(caught.value)


def test_a_folder_named_like_a_batch_is_not_a_batch(tmp_path):
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as archive:
        folder = tarfile.TarInfo("test_batch.bin")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    with pytest.raises(ValueError, match="the archive lacks test_batch.bin"):
        downloads.read_cifar10(tmp_path / "cifar.tar.gz", "test")


@pytest.mark.parametrize(
    "changed, message",
    [
        ({LABEL_FILE: idx(np.array([3, 1, 4, 1, 5, 10, 2], np.uint8))}, "label 10 of image 5 is not in 0..9"),
        ({LABEL_FILE: idx(LABELS[:6])}, "expected 7 labels, one per image"),
        ({IMAGE_FILE: idx(IMAGES[:, :27])}, r"expected images of shape \(N, 28, 28\), found \(7, 27, 28\)"),
        ({IMAGE_FILE: idx(LABELS)}, r"expected images of shape \(N, 28, 28\), found \(7,\)"),
    ],
)
def test_idx_files_that_do_not_fit_together_are_refused(server, changed, message):
    files = idx_files() | {name: gzip.compress(data) for name, data in changed.items()}
    with pytest.raises(ValueError, match=message) as caught:
        downloads.load_mnist("test", server.publish(MNIST, files))
    assert str(paths.data_dir() / "mnist" / next(iter(changed))) in str(caught.value)


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 28, 28), (0, 28, 28)])
def test_read_idx_gives_back_what_was_written(tmp_path, shape):
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx(array)))
    read = downloads.read_idx(path)
    assert read.dtype == np.uint8 and read.flags.writeable
    np.testing.assert_array_equal(read, array)


GOOD = idx(IMAGES)


@pytest.mark.parametrize(
    "data, message",
    [
        (HTML, r"expected gzip data, found a web page \(HTML\)"),
        (b"\n " + HTML, "found a web page"),
        (GOOD, r"expected gzip data, found b'\\x00\\x00\\x08"),  # already decompressed
        (b"", "expected gzip data, found nothing"),
        (gzip.compress(GOOD)[:-30], "damaged or truncated gzip"),
        (gzip.compress(GOOD)[:-8] + bytes(8), "damaged or truncated gzip"),  # wrong checksum inside the gzip
        (gzip.compress(GOOD) + b"more", "damaged or truncated gzip"),
        (gzip.compress(GOOD)[:10] + b"\xff" * 50, "damaged or truncated gzip"),  # a gzip header, then noise
        (gzip.compress(b"\0\0\x0d" + GOOD[3:]), "not an IDX file of bytes.*found 00 00 0d 03"),  # floats
        (gzip.compress(b"\0\1" + GOOD[2:]), "not an IDX file of bytes.*found 00 01 08 03"),
        (gzip.compress(b"\0\0\x08"), "not an IDX file of bytes"),
        (gzip.compress(GOOD[:15]), "truncated header: 3 dimensions need 16 bytes, found 15"),
        (gzip.compress(GOOD[:-1]), r"truncated: shape \(7, 28, 28\) needs 5504 bytes, found 5503"),
        (gzip.compress(GOOD + b"\0"), r"trailing bytes: shape \(7, 28, 28\) needs 5504 bytes, found 5505"),
    ],
    ids=by_message,
)
def test_read_idx_names_the_file_and_what_is_wrong(tmp_path, data, message):
    path = tmp_path / "bad.gz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        downloads.read_idx(path)
    assert str(path) in str(caught.value)


def test_the_natural_image_task_on_all_three_data_sets(server, monkeypatch):
    """From served archives to a batch at the paper's size: two natural images, a digit and an item."""
    images.load_images.cache_clear()
    ten, classes = RNG.integers(0, 256, (20, 28, 28), dtype=np.uint8), np.repeat(np.arange(10, dtype=np.uint8), 2)
    for origin, load, source in (
        (MNIST, downloads.load_mnist, "mnist"),
        (FASHION_MNIST, downloads.load_fashion_mnist, "fashion_mnist"),
    ):
        pictures = ten if origin is MNIST else 255 - ten
        files = {f"{p}-images-idx3-ubyte.gz": gzip.compress(idx(pictures)) for p in ("train", "t10k")}
        files |= {f"{p}-labels-idx1-ubyte.gz": gzip.compress(idx(classes)) for p in ("train", "t10k")}
        served = server.publish(origin, files)
        monkeypatch.setitem(images.SOURCES, source, partial(load, origin=served))
        assert len(images.load_images(source, "train", 28).labels) == len(images.load_images(source, "test", 28).labels)
    natural = {f"data_batch_{i}.bin": records(PIXELS[i], [1, 2]) for i in PIXELS}
    served = server.publish(CIFAR10, {TAR_FILE: tar(natural | {"test_batch.bin": records(PIXELS[1], [2, 1])})})
    monkeypatch.setitem(images.SOURCES, "cifar10", partial(downloads.load_cifar10, origin=served))
    task = profiles.get("paper").gallery.experiment("softmax", "natural_indicators").build_task()
    batch = task.sample(torch.Generator().manual_seed(0), 16, "test")
    images.load_images.cache_clear()
    assert batch.images.shape == (16, 3, 56, 56) and (task.oracle(batch) == batch.labels).all()
    assert cached(CIFAR10) == [TAR_FILE] and len(cached(MNIST)) == len(cached(FASHION_MNIST)) == 4
