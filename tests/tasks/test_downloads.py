"""Downloads from a web server on this machine that serves small files of the published formats.

Each test's ``Origin`` names that server and the md5 of the files as they should be; what is wrong with what the server
sends is real.
"""

import gzip
import hashlib
import io
import logging
import socket
import struct
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

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


class Handler(SimpleHTTPRequestHandler):
    """Serves the files of a folder; ``cut`` says how many bytes are not sent, of the next answers in turn."""

    cut: list[int] = []

    def copyfile(self, source, outputfile):
        data = source.read()
        outputfile.write(data[: len(data) - (self.cut.pop() if self.cut else 0)])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("EUREKA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("EUREKA_HEADLESS", "1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(Handler, "cut", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "site")))
    server.folder, server.url = tmp_path / "site", f"http://127.0.0.1:{server.server_port}/"
    threading.Thread(target=server.serve_forever, args=[0.01]).start()
    yield server
    stop(server)


def stop(server: ThreadingHTTPServer) -> None:
    server.shutdown()
    server.server_close()


def publish(server: ThreadingHTTPServer, origin: downloads.Origin, files: dict[str, bytes]) -> downloads.Origin:
    """Serve ``files``; returns ``origin`` at this server, with their checksums."""
    write(server.folder, files)
    return replace(origin, base_url=server.url, md5={n: hashlib.md5(d).hexdigest() for n, d in files.items()})


def write(folder, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def place(origin: downloads.Origin, files: dict[str, bytes]) -> None:
    write(paths.data_dir() / origin.folder, files)


def cached(origin: downloads.Origin) -> list[str]:
    return sorted(path.name for path in (paths.data_dir() / origin.folder).iterdir())


@pytest.fixture
def asked(capsys):
    """Names of the files that were asked for since the last call."""
    return lambda: [line.rsplit("/", 1)[1] for line in capsys.readouterr().out.splitlines() if "downloading" in line]


@pytest.mark.parametrize("load, origin", [(downloads.load_mnist, MNIST), (downloads.load_fashion_mnist, FASHION_MNIST)])
def test_idx_data_sets_arrive_as_published(server, load, origin):
    origin = publish(server, origin, idx_files())
    images, labels = load("test", origin)
    assert images.dtype == np.uint8 and labels.dtype == np.int64
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    images, labels = load("train", origin)
    np.testing.assert_array_equal(images, IMAGES[:4] // 2)
    np.testing.assert_array_equal(labels, LABELS[:4])
    assert cached(origin) == sorted(idx_files())


def test_the_two_idx_data_sets_do_not_share_files_though_the_names_are_equal(server):
    mnist = publish(server, MNIST, idx_files())
    downloads.load_mnist("test", mnist)
    other = idx_files() | {IMAGE_FILE: gzip.compress(idx(255 - IMAGES))}
    fashion = publish(server, FASHION_MNIST, other)
    np.testing.assert_array_equal(downloads.load_fashion_mnist("test", fashion)[0], 255 - IMAGES)
    np.testing.assert_array_equal(downloads.load_mnist("test", mnist)[0], IMAGES)


def test_cifar10_arrives_as_published_with_batches_in_the_order_of_their_numbers(server, asked):
    origin = publish(server, CIFAR10, {TAR_FILE: tar(cifar_members())})
    images, labels = downloads.load_cifar10("train", origin)
    assert images.shape == (10, 3, 32, 32) and images.dtype == np.uint8 and labels.dtype == np.int64
    np.testing.assert_array_equal(images, np.concatenate([PIXELS[i] for i in range(1, 6)]))
    assert labels.tolist() == [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    images, labels = downloads.load_cifar10("test", origin)
    np.testing.assert_array_equal(images, PIXELS[1])
    assert labels.tolist() == [0, 7]
    assert asked() == [TAR_FILE] and cached(origin) == [TAR_FILE]  # one download; nothing unpacked


def test_what_is_cached_needs_no_server(server, asked):
    origin = publish(server, MNIST, idx_files())
    first = downloads.load_mnist("test", origin)
    stop(server)
    again = downloads.load_mnist("test", origin)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert asked() == [IMAGE_FILE, LABEL_FILE]


def test_one_line_says_what_is_downloaded_and_a_cache_hit_says_nothing(server, capfd, monkeypatch):
    pooch.get_logger().setLevel("INFO")  # as pooch comes
    monkeypatch.setattr(pooch.get_logger(), "handlers", [logging.StreamHandler()])  # to the stderr of this test
    origin = publish(server, CIFAR10, {TAR_FILE: tar(cifar_members())})
    downloads.load_cifar10("test", origin)
    out, err = capfd.readouterr()
    assert (out, err) == (f"downloading {server.url}{TAR_FILE}\n", "")
    downloads.load_cifar10("test", origin)
    assert capfd.readouterr() == ("", "")


def test_a_person_looking_on_sees_a_progress_bar(server, monkeypatch, capfd):
    monkeypatch.delenv("EUREKA_HEADLESS")
    downloads.load_cifar10("test", publish(server, CIFAR10, {TAR_FILE: tar(cifar_members())}))
    assert "100%" in capfd.readouterr().err


BAD_DOWNLOADS = {
    "truncated": (lambda good: good[:-20], "does not match the known hash", 2),
    "corrupted": (lambda good: good[:50] + bytes([good[50] ^ 1]) + good[51:], "does not match the known hash", 2),
    "web page": (lambda good: HTML, rf"failed: http\S*/{IMAGE_FILE}: expected gzip data, found a web page", 1),
    "empty": (lambda good: b"", "found nothing", 1),
}


@pytest.mark.parametrize("fault", BAD_DOWNLOADS)
def test_a_bad_download_is_refused_and_not_kept(server, asked, fault):
    spoil, message, attempts = BAD_DOWNLOADS[fault]
    files = idx_files()
    origin = publish(server, MNIST, files)
    write(server.folder, {IMAGE_FILE: spoil(files[IMAGE_FILE])})
    with pytest.raises(DataUnavailable, match=message) as caught:
        downloads.load_mnist("test", origin)
    assert f"{server.url}{IMAGE_FILE}" in str(caught.value)
    assert cached(origin) == [] and asked() == [IMAGE_FILE] * attempts


def test_a_dropped_line_and_a_missing_file_are_reported_and_leave_nothing(server):
    origin = publish(server, MNIST, idx_files())
    Handler.cut = [100, 100]
    with pytest.raises(DataUnavailable, match="failed: .*IncompleteRead"):
        downloads.load_mnist("test", origin)
    (server.folder / IMAGE_FILE).unlink()
    with pytest.raises(DataUnavailable, match="404"):
        downloads.load_mnist("test", origin)
    assert cached(origin) == []


def test_a_second_try_cures_a_passing_fault(server, asked):
    origin = publish(server, MNIST, idx_files())
    Handler.cut = [20]
    np.testing.assert_array_equal(downloads.load_mnist("test", origin)[0], IMAGES)
    assert asked() == [IMAGE_FILE, IMAGE_FILE, LABEL_FILE]


def test_a_corrupt_file_in_the_cache_is_downloaded_again(server, asked):
    files = idx_files()
    origin = publish(server, MNIST, files)
    place(origin, {IMAGE_FILE: files[IMAGE_FILE][:-20], LABEL_FILE: files[LABEL_FILE]})
    np.testing.assert_array_equal(downloads.load_mnist("test", origin)[0], IMAGES)
    assert asked() == [IMAGE_FILE]
    assert (paths.data_dir() / "mnist" / IMAGE_FILE).read_bytes() == files[IMAGE_FILE]


def test_without_a_network_the_error_comes_at_once_and_says_what_to_do(server, capsys):
    origin = publish(server, MNIST, idx_files())
    stop(server)
    with pytest.raises(ConnectionRefusedError):  # the port is really closed
        socket.create_connection(("127.0.0.1", server.server_port), timeout=5)
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


def test_a_connection_that_is_not_secure_is_not_called_no_connection(server):
    origin = replace(publish(server, MNIST, idx_files()), base_url=server.url.replace("http:", "https:"))
    with pytest.raises(DataUnavailable, match=r"not secure \(\w+ .*\).*REQUESTS_CA_BUNDLE") as caught:
        downloads.load_mnist("test", origin)
    assert "no connection" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_named(monkeypatch):
    monkeypatch.setenv("EUREKA_DATA", "/dev/null/data")
    with pytest.raises(DataUnavailable, match="MNIST cannot be kept in /dev/null/data/mnist: .*\n.*EUREKA_DATA name"):
        downloads.load_mnist("test")


def test_files_put_there_by_hand_are_accepted_if_they_are_the_right_ones(server):
    origin = publish(server, MNIST, idx_files())
    stop(server)
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
        served = publish(server, origin, files)
        monkeypatch.setitem(images.SOURCES, source, partial(load, origin=served))
        assert len(images.load_images(source, "train", 28).labels) == len(images.load_images(source, "test", 28).labels)
    natural = {f"data_batch_{i}.bin": records(PIXELS[i], [1, 2]) for i in PIXELS}
    served = publish(server, CIFAR10, {TAR_FILE: tar(natural | {"test_batch.bin": records(PIXELS[1], [2, 1])})})
    monkeypatch.setitem(images.SOURCES, "cifar10", partial(downloads.load_cifar10, origin=served))
    task = profiles.get("paper").gallery.experiment("softmax", "natural_indicators").build_task()
    batch = task.sample(torch.Generator().manual_seed(0), 16, "test")
    images.load_images.cache_clear()
    assert batch.images.shape == (16, 3, 56, 56) and (task.oracle(batch) == batch.labels).all()
    assert cached(CIFAR10) == [TAR_FILE] and len(cached(MNIST)) == len(cached(FASHION_MNIST)) == 4
