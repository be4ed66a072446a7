"""Text without a document twice, divided for good, read without executing it; WikiText from files, or a clear no."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from eureka_lib import paths
from eureka_lib.tasks import corpora
from eureka_lib.tasks.corpora import SPLITS, DataUnavailable, load_text
from eureka_lib.tasks.language import LanguageConfig, MaskedLanguageTask, load_tokens

MODULE = '''
"""What this module is for, in a sentence.

    >>> add(1, 2)
    3

And   a last
paragraph."""

import pathlib
pathlib.Path("{marker}").write_text("this was executed")

class Adder:
    """Adds."""

    def add(self):
        """Add all that was given."""

async def again():
    """Add   all
    that was given."""

def silent():
    return "not a docstring"
'''
TOPIC = "The assert statement is a convenient way to insert debugging assertions into a program." * 2


@pytest.fixture
def library(tmp_path):
    """A folder like a standard library's, with all that should be left out."""
    files = {
        "adder.py": MODULE.format(marker=tmp_path / "marker"),
        "copied.py": '"""Adds."""',
        "broken.py": '"""A file of the future.""" or else:',
        "latin.py": b'"""caf\xe9"""',
        "pydoc_data/topics.py": f"topics = {{'assert': {TOPIC!r}, 'short': 'too short'}}",
        "test/case.py": '"""A test."""',
        "email/tests/case.py": '"""Another test."""',
        "site-packages/package.py": '"""Somebody else\'s."""',
        "zipped.txt": '"""No module."""',
    }
    for name, text in files.items():
        path = tmp_path / "library" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return tmp_path / "library"


@pytest.fixture
def uncached(tmp_path, monkeypatch):
    """An empty data folder, and no text in memory."""
    monkeypatch.setenv("EUREKA_DATA", str(tmp_path / "data"))
    forget()
    yield tmp_path / "data"
    forget()


def forget():
    for cached in (corpora._standard_library_text, corpora._wikitext, corpora.checksum, load_tokens):
        cached.cache_clear()


def test_docstrings_are_read_and_nothing_is_executed(library):
    found = corpora.collect(library, corpora.source_files(library))
    assert found == (
        "What this module is for, in a sentence. And a last paragraph.\nAdds.\nAdd all that was given.",
        TOPIC,
    )
    assert not (library.parent / "marker").exists()


def test_the_standard_library_is_a_text_of_two_megabytes(uncached):
    texts = {split: load_text("docstrings", split) for split in SPLITS}
    both = texts["train"] + texts["validation"]
    assert len(set(both)) == len(both) > 500
    paragraphs = [paragraph for document in both for paragraph in document.split("\n")]
    assert len(set(paragraphs)) == len(paragraphs) and all(paragraphs)
    size = {split: sum(map(len, text)) for split, text in texts.items()}
    assert sum(size.values()) > 1.5e6 and 0.03 < size["validation"] / sum(size.values()) < 0.25
    assert ">>>" not in "".join(both) and "Return a shallow copy" in "".join(both)


def test_splits_never_change_sides():
    """Whatever else there is, a document's split is a function of itself; about a tenth are for validation."""
    documents = [f"document {i}" for i in range(5000)]
    validation = [d for d in documents if corpora.split_of(d) == "validation"]
    assert 400 < len(validation) < 600 and corpora.split_of("document 0") == "train"
    assert not set(load_text("docstrings", "train")) & set(load_text("docstrings", "validation"))
    assert all(corpora.split_of(document) == "train" for document in load_text("docstrings", "train"))


def test_the_checksum_is_the_same_in_another_process(uncached, monkeypatch):
    """Of one package's text: collected there once more, in a folder of its own, with another order of sets."""
    package = Path(corpora.sysconfig.get_paths()["stdlib"]) / "asyncio"
    monkeypatch.setattr(corpora.sysconfig, "get_paths", lambda: {"stdlib": str(package)})
    assert len(load_text("docstrings", "train")) > 10
    code = f"""
from eureka_lib.tasks import corpora
corpora.sysconfig.get_paths = lambda: {{"stdlib": {str(package)!r}}}
print(corpora.checksum("docstrings"))
"""
    environment = os.environ | {"PYTHONHASHSEED": "7", "EUREKA_DATA": str(uncached / "other")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == corpora.checksum("docstrings") != corpora._hash_of(load_text("docstrings", "train"))


def test_what_was_collected_is_kept_and_what_is_damaged_is_collected_again(library, uncached, monkeypatch):
    monkeypatch.setattr(corpora.sysconfig, "get_paths", lambda: {"stdlib": str(library)})
    first = both_splits()
    (kept,) = (uncached / "docstrings").iterdir()
    forget()
    with monkeypatch.context() as patch:
        patch.setattr(corpora, "collect", lambda root, files: pytest.fail("collected again"))
        assert both_splits() == first and len(first) == 2
    content = json.loads(kept.read_text())
    for damaged in ("{", "[]", "{}", json.dumps(content | {"documents": content["documents"][1:]})):
        kept.write_text(damaged)
        forget()
        with pytest.warns(UserWarning, match=f"{kept.name} is damaged or closed .*; collecting the text again"):
            assert both_splits() == first
    assert [path.name for path in (uncached / "docstrings").iterdir()] == [kept.name]


def test_where_nothing_can_be_kept_the_text_is_there_all_the_same(library, uncached, monkeypatch):
    monkeypatch.setattr(corpora.sysconfig, "get_paths", lambda: {"stdlib": str(library)})
    first = both_splits()
    forget()
    monkeypatch.setenv("EUREKA_DATA", "/dev/null/data")
    with pytest.warns(UserWarning, match="/dev/null/data/docstrings/.* could not be kept .*EUREKA_DATA") as said:
        assert both_splits() == first
    assert len(said) == 1


def test_other_sources_are_another_text(library, uncached, monkeypatch):
    monkeypatch.setattr(corpora.sysconfig, "get_paths", lambda: {"stdlib": str(library)})
    first = both_splits()
    (library / "new.py").write_text('"""A module that was added."""')
    forget()
    assert both_splits() == first | {"A module that was added."}


def both_splits():
    return set(load_text("docstrings", "train")) | set(load_text("docstrings", "validation"))


def test_a_python_without_sources_is_told(uncached, tmp_path, monkeypatch):
    monkeypatch.setattr(corpora.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(DataUnavailable, match=f"there are none in {tmp_path}: use a Python that has them"):
        load_text("docstrings", "train")


def test_unknown_names():
    with pytest.raises(ValueError, match="unknown corpus 'wikitxt'.*did you mean 'wikitext'"):
        load_text("wikitxt", "train")
    with pytest.raises(ValueError, match="unknown split 'test': allowed are train, validation"):
        load_text("docstrings", "test")


# --- wikitext --------------------------------------------------------------------------------------------------------

LINES = [
    "", " = Robert Boulter = \n", "", " Robert Boulter is an English film , television and theatre actor . \n",
    " = = Career = = \n", " In 2000 he had a guest @-@ starring role . \n", "", " = X = \n", " A letter = a sign . \n",
]  # fmt: skip
ARTICLES = (
    "= Robert Boulter = \n Robert Boulter is an English film , television and theatre actor . \n = = Career = = \n"
    " In 2000 he had a guest @-@ starring role .",
    "= X = \n A letter = a sign .",
)


def write_parquet(folder, split, lines, column="text"):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table({column: lines}), folder / f"{split}.parquet")


@pytest.fixture
def hugging_face(uncached, monkeypatch):
    """Hugging Face's libraries, told that there is no network, with an empty cache of their own."""
    datasets = pytest.importorskip("datasets")
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", uncached / "cache")
    datasets.disable_progress_bars()
    return uncached


def test_lines_are_put_together_to_articles():
    assert tuple(corpora.articles(LINES)) == ARTICLES
    assert list(corpora.articles([])) == []


def test_wikitext_is_read_from_files_that_were_put_there(hugging_face):
    write_parquet(paths.data_dir() / "wikitext", "train", LINES + LINES[1:4] + LINES[4:])
    write_parquet(paths.data_dir() / "wikitext", "validation", LINES[7:])
    assert load_text("wikitext", "train") == ARTICLES  # the second copy is a duplicate
    assert load_text("wikitext", "validation") == ARTICLES[1:]
    assert corpora.checksum("wikitext") == corpora._hash_of([*ARTICLES, ARTICLES[1]])


def test_wikitext_becomes_a_task(hugging_face):
    for split in SPLITS:
        write_parquet(paths.data_dir() / "wikitext", split, LINES)
    task = MaskedLanguageTask(LanguageConfig(corpus="wikitext", vocabulary=300, tokens=8))
    assert task.sizes["train"] == task.sizes["validation"] > 50
    batch = task.sample(torch.Generator().manual_seed(0), 4)
    written = "".join(f"{article}</s>" for article in ARTICLES)
    assert all("".join(task.words(ids)) in written for ids in batch.ids[:, 1:-1])
    assert list(task.checksums(task.config)) == ["wikitext", "wikitext as tokens"]


def test_without_a_network_the_answer_comes_at_once_and_says_what_to_do(hugging_face):
    started = time.monotonic()
    with pytest.raises(DataUnavailable) as failure:
        load_text("wikitext", "train")
    assert time.monotonic() - started < 10  # importing the library takes a second or two
    said = str(failure.value)
    assert "loading the train split of Salesforce/wikitext / wikitext-103-raw-v1 failed: Couldn't reach" in said
    assert str(hugging_face / "wikitext") in said and 'corpus="docstrings"' in said


@pytest.mark.parametrize("damage", ["no such split", "no such column", "no parquet"])
def test_files_that_do_not_fit_are_named(hugging_face, damage):
    folder = paths.data_dir() / "wikitext"
    write_parquet(folder, "validation" if damage == "no such split" else "train", LINES,
                  "words" if damage == "no such column" else "text")  # fmt: skip
    if damage == "no parquet":
        (folder / "train.parquet").write_bytes(b"<html>")
    with pytest.raises(DataUnavailable, match=f"loading the train split of {folder} failed"):
        load_text("wikitext", "train")


def test_without_datasets_the_extra_is_named(uncached, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"the corpus 'wikitext' needs datasets.*pip install -e '.\[hf\]'"):
        load_text("wikitext", "train")
