"""The paper's real images: MNIST, Fashion-MNIST and CIFAR-10, downloaded once and verified.

pooch downloads each published archive into the cache, a folder of ``paths.data_dir()`` per data set, and compares its
md5 checksum: a truncated or intercepted download is never kept, a damaged file in the cache is replaced, and one put
there by hand is accepted if it is right. What is read is therefore as published, gzipped IDX or CIFAR-10's binary
version, and needs no further checks. Without a network the error comes at once and says what to do. Nothing is
unpickled, and nothing is unpacked to disk.
"""

import gzip
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
import requests

from eureka_lib import paths
from eureka_lib.progress import headless
from eureka_lib.validation import check_choice

TIMEOUT = (5, 30)  # seconds to connect, seconds between two pieces of data
RETRIES = 1  # after a dropped connection, a wrong checksum, a busy server
IDX_PREFIX = {"train": "train", "test": "t10k"}
CIFAR_MEMBERS = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}


class DataUnavailable(OSError):
    """A data set is neither in the cache nor to be had; the message says why, and what to do."""


@dataclass(frozen=True)
class Origin:
    """Where a data set is published, and the checksums of its files."""

    name: str  # in messages
    folder: str  # below paths.data_dir()
    base_url: str  # a file's address is base_url + its name
    md5: dict[str, str]  # file name -> published md5
    embedded: str = 'the embedded digits: indicator_source="digits", target_source="digits"'  # what to use instead


MNIST = Origin(
    "MNIST",
    "mnist",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
)
FASHION_MNIST = Origin(
    "Fashion-MNIST",
    "fashion_mnist",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
)
CIFAR10 = Origin(
    "CIFAR-10",
    "cifar10",
    "https://www.cs.toronto.edu/~kriz/",
    {
        "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    },
    'the embedded photographs: indicator_source="photographs"',
)


def load_mnist(split: str, origin: Origin = MNIST) -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits of "train" (N = 60000) or "test" (10000): images (N, 28, 28) uint8, labels (N,) int64.

    Raises ValueError for another split, DataUnavailable if the files cannot be had.
    Source: LeCun et al., *Gradient-Based Learning Applied to Document Recognition*, 1998.
    """
    prefix = IDX_PREFIX[check_choice("split", split, IDX_PREFIX)]
    images = gzip.decompress(_fetch(origin, f"{prefix}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress(_fetch(origin, f"{prefix}-labels-idx1-ubyte.gz").read_bytes())
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28)  # after IDX's header of four numbers
    return pixels.copy(), np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)  # after a header of two


def load_fashion_mnist(split: str, origin: Origin = FASHION_MNIST) -> tuple[np.ndarray, np.ndarray]:
    """Clothing items in MNIST's format and sizes; shapes and errors as in ``load_mnist``.

    Source: Xiao et al., *Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms*, 2017.
    """
    return load_mnist(split, origin)


def load_cifar10(split: str, origin: Origin = CIFAR10) -> tuple[np.ndarray, np.ndarray]:
    """Natural images of "train" (N = 50000) or "test" (10000): images (N, 3, 32, 32) uint8 RGB, labels (N,) int64.

    Raises ValueError for another split, DataUnavailable if the archive cannot be had.
    Source: Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009; the binary version.
    """
    wanted = CIFAR_MEMBERS[check_choice("split", split, CIFAR_MEMBERS)]
    with tarfile.open(_fetch(origin, "cifar-10-binary.tar.gz")) as archive:
        found = {Path(m.name).name: archive.extractfile(m).read() for m in archive if m.isfile()}
    # A record is a label, then the red, green and blue planes, row by row.
    records = np.frombuffer(b"".join(found[name] for name in wanted), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    return records[:, 1:].reshape(-1, 3, 32, 32).copy(), records[:, 0].astype(np.int64)


def _fetch(origin: Origin, file: str) -> Path:
    """The verified local copy of one of ``origin``'s files, downloaded if missing; DataUnavailable if that fails."""
    pooch.get_logger().setLevel("WARNING")  # _download says the same in one line
    registry = {name: f"md5:{md5}" for name, md5 in origin.md5.items()}
    folder = paths.data_dir() / origin.folder
    store = pooch.create(folder, origin.base_url, registry=registry, retry_if_failed=RETRIES)
    try:
        return Path(store.fetch(file, downloader=_download))
    except (DataUnavailable, ValueError, requests.RequestException) as error:  # ValueError: a wrong checksum
        kept = store.abspath / file
        wrong = f"the checksum of {kept}, already there, is wrong (expected md5 {origin.md5[file]}); "
        reason = (wrong if kept.exists() else "") + f"downloading {store.get_url(file)} failed: {error}"
        files = "".join(f"\n  {name}  (md5 {md5})" for name, md5 in origin.md5.items())
        raise DataUnavailable(
            f"{origin.name} is not available: {reason}\nEither put these files, from {origin.base_url}, into "
            f"{store.abspath}:{files}\nor use {origin.embedded}."
        ) from error
    except OSError as error:
        raise DataUnavailable(
            f"{origin.name} cannot be kept in {folder}: {error}\nEither let the environment variable EUREKA_DATA name "
            f"another folder, or use {origin.embedded}."
        ) from error


def _download(url: str, output_file: str, store: pooch.Pooch) -> None:
    """One attempt. pooch calls it, and repeats it after a ValueError or RequestException but after nothing else."""
    print(f"downloading {url}", flush=True)
    get = pooch.HTTPDownloader(progressbar=not headless(), chunk_size=2**16, timeout=TIMEOUT)
    try:
        get(url, output_file, store)
    except requests.exceptions.SSLError as error:  # which is a ConnectionError, but there is a connection
        said = re.search(r"\] ([^(\[]+) \(_ssl", str(error))  # by OpenSSL: certificate verify failed: self-signed ...
        raise DataUnavailable(
            f"the connection is not secure ({said[1] if said else type(error).__name__}). Where a proxy has a "
            f"certificate of its own, let the environment variable REQUESTS_CA_BUNDLE name the file of the "
            f"certificates to trust"
        ) from error
    except requests.ConnectionError as error:
        raise DataUnavailable(f"no connection ({type(error).__name__})") from error
    with open(output_file, "rb") as file:
        start = file.read(64)
    if start[:2] != b"\x1f\x8b":  # a login page or a proxy's, which a second try would get again
        found = "a web page (HTML)" if start.lstrip()[:1] == b"<" else f"{start[:8]!r}..." if start else "nothing"
        raise DataUnavailable(f"{url}: expected gzip data, found {found}")
