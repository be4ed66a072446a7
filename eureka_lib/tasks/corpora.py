"""English text corpora by name: one that is on every machine, and one like the paper's.

``docstrings`` is the documentation in the source files of the running Python's standard library: docstrings, and the
reference texts of ``pydoc_data.topics``, which ``help()`` shows. The files are parsed, never executed. It is two
megabytes of prose and differs a little between versions of Python; its checksum is in every run's provenance. It is
cached.

``wikitext`` is WikiText-103 (Merity et al. 2016), downloaded once by Hugging Face's datasets. Files in the folder
``wikitext`` of :func:`eureka_lib.paths.data_dir`, say ``train.parquet`` and ``validation.parquet`` with a column
"text", are read instead. Without a network and without files the error says what to do.

A text is a tuple of documents without duplicates. The two splits share no document: ``docstrings`` is divided by a hash
of the document, ``wikitext`` as published.
"""

import ast
import hashlib
import json
import re
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from eureka_lib import paths
from eureka_lib.tasks.downloads import DataUnavailable
from eureka_lib.validation import check_choice

SPLITS = ("train", "validation")
Text = tuple[str, ...]  # documents

VALIDATION_SHARE = 0.1  # of the documents of docstrings
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "idlelib", "turtledemo"}  # folders
TOPICS = "pydoc_data/topics.py"
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
SHORTEST_TOPIC = 80  # characters; the shorter strings in that file are names

WIKITEXT = ("Salesforce/wikitext", "wikitext-103-raw-v1")
TITLE = re.compile(r" = (?!=).+(?<!=) = ?\n?")  # a line that begins an article; sections have two = or more


def load_text(corpus: str, split: str) -> Text:
    """The documents of one split of a corpus, always in the same order.

    Raises ValueError for an unknown corpus or split, DataUnavailable if the text is neither there nor to be had.
    """
    check_choice("split", split, SPLITS)
    return CORPORA[check_choice("corpus", corpus, CORPORA)](split)


@lru_cache(maxsize=4)
def checksum(corpus: str) -> str:
    """SHA-256 over all documents of a corpus, both splits; part of every run's provenance."""
    return _hash_of(document for split in SPLITS for document in load_text(corpus, split))


def _hash_of(documents: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for document in documents:
        digest.update(hashlib.sha256(document.encode()).digest())
    return digest.hexdigest()


# ---- docstrings


def _docstrings(split: str) -> Text:
    return tuple(document for document in _standard_library_text() if split_of(document) == split)


def split_of(document: str) -> str:
    """The split of a document by its hash, so that it does not depend on the other documents."""
    share = int.from_bytes(hashlib.sha256(document.encode()).digest()[:8]) / 2**64
    return "validation" if share < VALIDATION_SHARE else "train"


@lru_cache(maxsize=1)
def _standard_library_text() -> Text:
    """All documents of the standard library, cached."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = source_files(root)
    if not files:
        raise DataUnavailable(
            f"the corpus 'docstrings' is read from the standard library's source files, of which there are none in "
            f"{root}: use a Python that has them, or the corpus 'wikitext'"
        )
    cache = paths.data_dir() / "docstrings" / f"{_fingerprint(root, files)}.json"
    try:
        kept = json.loads(cache.read_bytes())
        if kept["sha256"] == _hash_of(kept["documents"]):
            return tuple(kept["documents"])
        raise ValueError("its text does not match its checksum")
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        warnings.warn(f"{cache} is damaged or closed ({problem!r}); collecting the text again", stacklevel=2)
    documents = collect(root, files)
    paths.keep(cache, json.dumps({"sha256": _hash_of(documents), "documents": documents}).encode())
    return documents


def source_files(root: Path) -> list[Path]:
    """The Python files below ``root``, without installed packages and tests, in the order of their names."""
    found = (path.relative_to(root) for path in root.rglob("*.py"))
    return [root / path for path in sorted(found, key=Path.as_posix) if not LEFT_OUT & set(path.parts)]


def _fingerprint(root: Path, files: list[Path]) -> str:
    """A hash of what decides the text: the interpreter, its files and their sizes, and this module."""
    listing = [[path.relative_to(root).as_posix(), path.stat().st_size] for path in files]
    facts = [sys.version, listing, hashlib.sha256(Path(__file__).read_bytes()).hexdigest()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def collect(root: Path, files: Iterable[Path]) -> Text:
    """The documents in ``files``: one for each file, of its docstrings in their order, and one for each topic.

    Left out are repeated docstrings, paragraphs with a doctest, and files that this Python cannot parse.
    """
    seen: set[str] = set()
    documents = []
    for path in files:
        texts = ([text] for text in _topics(path)) if path == root / TOPICS else [_docstrings_of(path)]
        for parts in texts:
            new = [part for part in map(_prose, parts) if part and not (part in seen or seen.add(part))]
            if new:
                documents.append("\n".join(new))
    return tuple(dict.fromkeys(documents))


def _tree(path: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated syntax in those files
        try:
            return ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            return ast.Module([], [])


def _docstrings_of(path: Path) -> Iterator[str]:
    """The docstrings of a file's module, classes and functions, in the order of the file."""
    found = [node for node in ast.walk(_tree(path)) if isinstance(node, DOCUMENTED) and ast.get_docstring(node)]
    for node in sorted(found, key=lambda node: getattr(node, "lineno", 0)):
        yield ast.get_docstring(node)


def _topics(path: Path) -> Iterator[str]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) >= SHORTEST_TOPIC:
            yield node.value


def _prose(text: str) -> str:
    """The paragraphs without a doctest, with white space normalised."""
    paragraphs = re.split(r"\n\s*\n", text)
    return " ".join(word for part in paragraphs if ">>>" not in part for word in part.split())


# ---- wikitext


@lru_cache(maxsize=2)
def _wikitext(split: str) -> Text:
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            "the corpus 'wikitext' needs datasets 4 or newer, which the extra 'hf' installs: "
            "pip install -e '.[hf]' in the folder of this project"
        ) from error
    folder = paths.data_dir() / "wikitext"
    source = (str(folder),) if folder.exists() else WIKITEXT
    try:
        lines = datasets.load_dataset(*source, split=split)["text"]
    except (OSError, ValueError, KeyError) as error:  # no network; not there, damaged, no such split; no such column
        raise DataUnavailable(
            f"WikiText-103 is not available: loading the {split} split of {' / '.join(source)} failed: {error}\n"
            f"Either connect to the network once (where a proxy has a certificate of its own, let the environment "
            f"variable SSL_CERT_FILE name the file of those to trust), or put its published parquet files, or "
            f"train.parquet and validation.parquet with a column 'text', into {folder}, or use the embedded text: "
            f'corpus="docstrings".'
        ) from error
    return tuple(dict.fromkeys(articles(lines)))


def articles(lines: Iterable[str]) -> Iterator[str]:
    """WikiText's lines joined to articles, each from a title, a line of the form `` = Title = ``, to the next."""
    article: list[str] = []
    for line in lines:
        if article and TITLE.fullmatch(line):
            yield "".join(article).strip()
            article = []
        if article or line.strip():
            article.append(line)
    if article:
        yield "".join(article).strip()


CORPORA: dict[str, Callable[[str], Text]] = {"docstrings": _docstrings, "wikitext": _wikitext}
