"""The paper's real images: MNIST, Fashion-MNIST and CIFAR-10, downloaded once and verified.

The published archives carry md5 checksums, and everything here hangs on them. pooch downloads to a temporary file,
compares, and only then moves the file into the cache (a subfolder of ``paths.data_dir()`` per data set), so a
truncated, corrupted or intercepted download is never kept, and a damaged file in the cache is replaced. A file put
there by hand is as good as a downloaded one if its checksum fits. Without a network the answer comes at once, and it
says what to do. The archives are read by two small parsers, for gzipped IDX and for CIFAR-10's binary version; nothing
is ever unpickled and nothing is unpacked to disk.
"""

import gzip
import math
import re
import struct
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pooch
import requests

from eureka_lib import paths
from eureka_lib.progress import headless
from eureka_lib.validation import check_choice

TIMEOUT = (5, 30)  # seconds to connect, seconds between two pieces of data
RETRIES = 1  # for what a second try can cure: a dropped connection, a wrong checksum, a busy server
CLASSES = 10  # in each of the three data sets
CIFAR_RECORD = 1 + 3 * 32 * 32  # one label byte, then the red, green and blue planes, row by row
IDX_PREFIX = {"train": "train", "test": "t10k"}
CIFAR_MEMBERS = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
DAMAGED = (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error)  # what damaged archives raise while being read
FASHION_MNIST_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"


class DataUnavailable(OSError):
    """A data set is neither in the cache nor to be had; the message says why, and what to do about it."""


@dataclass(frozen=True)
class Origin:
    """Where a data set is published, and how to know that its files are the right ones."""

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
    FASHION_MNIST_URL,
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

    Raises ValueError for another split or malformed files, DataUnavailable if the files cannot be had.
    Source: LeCun et al., *Gradient-Based Learning Applied to Document Recognition*, 1998.
    """
    prefix = IDX_PREFIX[check_choice("split", split, IDX_PREFIX)]
    image_file = _fetch(origin, f"{prefix}-images-idx3-ubyte.gz")
    label_file = _fetch(origin, f"{prefix}-labels-idx1-ubyte.gz")
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.shape[1:] != (28, 28):
        raise ValueError(f"{image_file}: expected images of shape (N, 28, 28), found {images.shape}")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"{label_file}: expected {len(images)} labels, one per image, found shape {labels.shape}")
    _check_labels(label_file, labels)
    return images, labels.astype(np.int64)


def load_fashion_mnist(split: str, origin: Origin = FASHION_MNIST) -> tuple[np.ndarray, np.ndarray]:
    """Clothing items in MNIST's format and sizes; shapes and errors as in ``load_mnist``.

    Source: Xiao et al., *Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms*, 2017.
    """
    return load_mnist(split, origin)


def load_cifar10(split: str, origin: Origin = CIFAR10) -> tuple[np.ndarray, np.ndarray]:
    """Natural images of "train" (N = 50000) or "test" (10000): images (N, 3, 32, 32) uint8 RGB, labels (N,) int64.

    Raises ValueError for another split or a malformed archive, DataUnavailable if the archive cannot be had.
    Source: Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009; the binary version.
    """
    check_choice("split", split, CIFAR_MEMBERS)
    return read_cifar10(_fetch(origin, "cifar-10-binary.tar.gz"), split)


def read_idx(path: str | Path) -> np.ndarray:
    """The array (uint8, any shape) in a gzipped IDX file of bytes; ValueError, naming the file, if it is malformed.

    IDX: bytes 0, 0, 8 (the type: unsigned byte), the number of dimensions, each dimension as a big-endian 32-bit
    number, then the values, last dimension fastest. Source: http://yann.lecun.com/exdb/mnist/
    """
    _check_gzip(path)
    try:
        with gzip.open(path) as file:
            data = file.read()
    except DAMAGED as error:
        raise ValueError(f"{path}: damaged or truncated gzip data: {error}") from error
    if data[:3] != b"\0\0\x08" or len(data) < 4:
        raise ValueError(f"{path}: not an IDX file of bytes, which starts with 00 00 08; found {data[:4].hex(' ')}")
    header = 4 + 4 * data[3]
    if len(data) < header:
        raise ValueError(f"{path}: truncated header: {data[3]} dimensions need {header} bytes, found {len(data)}")
    shape = struct.unpack(f">{data[3]}I", data[4:header])
    expected = header + math.prod(shape)
    if len(data) != expected:
        problem = "truncated" if len(data) < expected else "trailing bytes"
        raise ValueError(f"{path}: {problem}: shape {shape} needs {expected} bytes, found {len(data)}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()  # a view of bytes would be read-only


def read_cifar10(path: str | Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32) uint8 and labels (N,) int64 of ``split`` in CIFAR-10's binary tar.gz.

    The batches are found by base name, wherever in the archive they lie, and are joined in the order of their numbers.
    Raises ValueError, naming the file, if a batch is missing, is no whole number of records, or has a label above 9.
    """
    wanted = CIFAR_MEMBERS[check_choice("split", split, CIFAR_MEMBERS)]
    _check_gzip(path)
    found = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if member.isfile() and name in wanted:
                    found[name] = archive.extractfile(member).read()
    except DAMAGED as error:
        raise ValueError(f"{path}: damaged or truncated tar.gz archive: {error}") from error
    if missing := [name for name in wanted if name not in found]:
        raise ValueError(f"{path}: the archive lacks {', '.join(missing)}")
    records = np.concatenate([_cifar_records(f"{path}, {name}", found[name]) for name in wanted])
    return records[:, 1:].reshape(-1, 3, 32, 32).copy(), records[:, 0].astype(np.int64)


def _cifar_records(where: str, data: bytes) -> np.ndarray:
    """One batch as (N, 3073) uint8: column 0 the label, the rest the image."""
    if not data or len(data) % CIFAR_RECORD:
        raise ValueError(f"{where}: {len(data)} bytes are not a whole number of {CIFAR_RECORD}-byte records")
    records = np.frombuffer(data, np.uint8).reshape(-1, CIFAR_RECORD)
    _check_labels(where, records[:, 0])
    return records


def _check_labels(where: str | Path, labels: np.ndarray) -> None:
    wrong = np.flatnonzero(labels >= CLASSES)
    if len(wrong):
        raise ValueError(f"{where}: label {labels[wrong[0]]} of image {wrong[0]} is not in 0..{CLASSES - 1}")


def _check_gzip(path: str | Path, origin: str | None = None) -> None:
    """Raise ValueError unless ``path`` starts like gzip; ``origin`` names it in the message, if not its path."""
    with open(path, "rb") as file:
        start = file.read(64)
    if start[:2] != b"\x1f\x8b":
        found = "a web page (HTML)" if start.lstrip()[:1] == b"<" else f"{start[:8]!r}..." if start else "nothing"
        raise ValueError(f"{origin or path}: expected gzip data, found {found}")


def _fetch(origin: Origin, file: str) -> Path:
    """The verified local copy of one of ``origin``'s files, downloaded if need be; DataUnavailable if that fails."""
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
        _check_gzip(output_file, url)
    except requests.exceptions.SSLError as error:  # which is a ConnectionError, but there is a connection
        raise DataUnavailable(
            f"the connection is not secure ({_in_short(error)}). Where a proxy has a certificate of its own, let the "
            f"environment variable REQUESTS_CA_BUNDLE name the file of the certificates to trust"
        ) from error
    except requests.ConnectionError as error:
        raise DataUnavailable(f"no connection ({type(error).__name__})") from error
    except ValueError as error:  # a login page or a proxy's: it will not go away by asking again
        raise DataUnavailable(str(error)) from error


def _in_short(error: BaseException) -> str:
    """What OpenSSL said, such as "certificate verify failed: self-signed certificate", out of all who passed it on."""
    said = re.search(r"\] ([^(\[]+) \(_ssl", str(error))
    return said[1] if said else type(error).__name__
