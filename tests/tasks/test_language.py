"""Masked language modelling: nothing is lost in tokens, the right share is hidden, and lines are the text's own."""

import math
import sys

import pytest
import torch

from eureka_lib import paths
from eureka_lib.tasks import corpora, language
from eureka_lib.tasks.language import (
    END,
    FIRST_ORDINARY,
    IGNORED,
    MASK,
    SPECIAL,
    START,
    LanguageConfig,
    MaskedLanguageTask,
    load_tokens,
    train_tokeniser,
)

tokenizers = pytest.importorskip("tokenizers")
VOCABULARY, TOKENS = 300, 16
TRAIN = ("the cat sat on the mat", "the dog sat on the cat, the dog sat", "a mat is a mat") * 10
VALIDATION = ("the dog sat on a mat", "a cat is a cat, the mat is on the dog") * 10


@pytest.fixture(autouse=True)
def text(tmp_path, monkeypatch):
    """A text of a few words as the corpus, and an empty data folder."""
    monkeypatch.setenv("EUREKA_DATA", str(tmp_path / "data"))
    monkeypatch.setitem(corpora.CORPORA, "words", lambda split: TRAIN if split == "train" else VALIDATION)
    for cached in (load_tokens, corpora.checksum):
        cached.cache_clear()
    yield
    for cached in (load_tokens, corpora.checksum):
        cached.cache_clear()


def build(**changes):
    settings = {"corpus": "words", "vocabulary": VOCABULARY, "tokens": TOKENS}
    return MaskedLanguageTask(LanguageConfig(**{**settings, **changes}))


def random(seed=0):
    return torch.Generator().manual_seed(seed)


# --- text and tokens -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["the cat sat", " two  blanks\n\tand ", "naïve café, 猫 \N{CAT FACE}", "</s> <mask>"])
def test_what_is_encoded_comes_back(text):
    tokeniser = train_tokeniser(TRAIN, VOCABULARY)
    ids = tokeniser.encode(text).ids
    assert tokeniser.decode(ids, skip_special_tokens=False) == text and min(ids) >= FIRST_ORDINARY


def test_the_tokeniser_has_robertas_special_tokens_and_learns_frequent_words():
    tokeniser = train_tokeniser(TRAIN, VOCABULARY)
    assert [tokeniser.token_to_id(name) for name in SPECIAL] == list(range(5))
    assert tokeniser.get_vocab_size() <= VOCABULARY
    assert len(tokeniser.encode(" sat").ids) == 1 and len(tokeniser.encode(" tas").ids) > 1
    assert train_tokeniser(TRAIN, VOCABULARY).to_str() == tokeniser.to_str()


def test_the_rows_are_the_documents_each_ended():
    tokenised = load_tokens("words", 0, VOCABULARY)
    tokeniser = tokenised.tokeniser()
    for split, documents in (("train", TRAIN), ("validation", VALIDATION)):
        written = tokeniser.decode(tokenised.rows[split].tolist(), skip_special_tokens=False)
        assert written == "".join(f"{document}</s>" for document in documents)
    assert len(load_tokens("words", 2, VOCABULARY).rows["train"]) < len(tokenised.rows["train"]) / 3


def test_the_tokeniser_has_not_seen_the_validation_text(monkeypatch):
    before = load_tokens("words", 0, VOCABULARY).tokeniser_json
    other = ("quixotic zephyrs",) * 9
    monkeypatch.setitem(corpora.CORPORA, "words", lambda split: TRAIN if split == "train" else other)
    for cached in (load_tokens, corpora.checksum):
        cached.cache_clear()
    assert load_tokens("words", 0, VOCABULARY).tokeniser_json == before


def test_tokens_are_kept_and_damaged_ones_are_cut_again(monkeypatch):
    first = load_tokens("words", 0, VOCABULARY)
    (kept,) = (paths.data_dir() / "tokens").iterdir()
    load_tokens.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(language, "train_tokeniser", lambda *_: pytest.fail("trained again"))
        again = load_tokens("words", 0, VOCABULARY)
    assert again.sha256 == first.sha256
    assert all(torch.equal(again.rows[split], first.rows[split]) for split in first.rows)
    whole = kept.read_bytes()
    for damaged in (b"", whole[:100], whole[:-2] + b"\x07\x00"):
        kept.write_bytes(damaged)
        load_tokens.cache_clear()
        with pytest.warns(UserWarning, match=f"{kept.name} is damaged .*; tokenising the text again"):
            assert load_tokens("words", 0, VOCABULARY).sha256 == first.sha256
    load_tokens.cache_clear()
    assert load_tokens("words", 0, VOCABULARY).sha256 == first.sha256 and len(kept.read_bytes()) == len(whole)


def test_checksums_are_those_of_text_and_tokens():
    config = build().config
    sums = MaskedLanguageTask.checksums(config)
    assert list(sums) == ["words", "words as tokens"] and sums["words"] == corpora.checksum("words")
    other = MaskedLanguageTask.checksums(build(vocabulary=265).config)
    assert other["words"] == sums["words"] and other["words as tokens"] != sums["words as tokens"]


# --- samples ---------------------------------------------------------------------------------------------------------


def test_samples_are_pieces_of_the_text_between_marks():
    task = build()
    row = task._rows["train"].tolist()
    batch = task.sample(random(), 200)
    assert batch.ids.shape == (200, TOKENS) and (batch.ids[:, 0] == START).all() and (batch.ids[:, -1] == END).all()
    pieces = {tuple(row[i : i + TOKENS - 2]) for i in range(len(row) - TOKENS + 3)}
    assert {tuple(ids) for ids in batch.ids[:, 1:-1].tolist()} == pieces, "each of them is drawn, and nothing else"
    assert not (batch.ids == SPECIAL.index("<pad>")).any() and not (batch.ids == MASK).any()


def test_as_many_tokens_are_hidden_as_in_roberta():
    """15 % of the ordinary tokens; of these 80 % show <mask>, 10 % another token, any of them, and 10 % themselves."""
    batch = build().sample(random(), 20_000)
    ordinary = batch.ids >= FIRST_ORDINARY
    assert not (batch.chosen & ~ordinary).any() and torch.equal(batch.shown[~batch.chosen], batch.ids[~batch.chosen])
    assert batch.chosen[ordinary].float().mean().item() == pytest.approx(0.15, abs=0.003)
    shown, ids = batch.shown[batch.chosen], batch.ids[batch.chosen]
    masked, same = shown == MASK, shown == ids
    assert masked.float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert same.float().mean().item() == pytest.approx(0.1, abs=0.01)
    others = shown[~masked & ~same]
    assert len(others) / len(shown) == pytest.approx(0.1, abs=0.01)
    assert set(others.tolist()) == set(range(FIRST_ORDINARY, VOCABULARY))
    counts = torch.bincount(others, minlength=VOCABULARY)[FIRST_ORDINARY:]
    assert counts.float().std() < 2.5 * counts.float().mean().sqrt(), "all are equally likely"


def test_masking_is_dynamic_and_a_function_of_the_generator():
    task = build()
    one, same = (next(task.pairs(random(1), 4)) for _ in range(2))
    assert torch.equal(one[0], same[0]) and torch.equal(one[1], same[1])
    piece = task._pieces("train", torch.zeros(2000, dtype=torch.long))
    chosen = task._mask(random(), piece, language.SHOWN_AS_MASK).chosen
    assert len({tuple(row) for row in chosen.tolist()}) > 400, "one piece, hidden anew every time"


def test_labels_are_where_something_is_to_be_guessed():
    batch = build().sample(random(), 50)
    inputs, labels = batch.pair
    assert inputs.shape == (50, 2, TOKENS) and labels.shape == (50, TOKENS)
    assert torch.equal(inputs[:, 0], batch.shown) and torch.equal(inputs[:, 1].bool(), labels != IGNORED)
    assert torch.equal(labels[batch.chosen], batch.ids[batch.chosen])


def test_test_samples_come_from_the_validation_text_and_show_nothing():
    task = build(corpus="docstrings", tokens=32, documents=20)
    pairs = task.test_set(700)
    assert sum(len(labels) for _, labels in pairs) == 700 and len(pairs) == 2
    for (inputs, labels), (again, same) in zip(pairs, task.test_set(700), strict=True):
        assert torch.equal(inputs, again) and torch.equal(labels, same)
        assert (inputs[:, 0][inputs[:, 1].bool()] == MASK).all()
    row = task._rows["validation"]
    first = pairs[0][0][0, 0, 1:-1]
    visible = first != MASK
    assert torch.equal(first[visible], row[:30][visible])


# --- loss, evaluation, derived lines ---------------------------------------------------------------------------------


class Constant(torch.nn.Module):
    """Answers with the same logits everywhere, or with those that ``of`` gives for the shown tokens."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, inputs):
        return self.logits.expand(int(inputs[:, 1].sum()), -1)


def test_the_loss_is_over_chosen_tokens_in_their_order():
    task = build()
    inputs, labels = task.sample(random(), 8).pair
    logits = torch.randn(int((labels != IGNORED).sum()), VOCABULARY, generator=random())
    expected, i = 0.0, 0
    for row in labels.tolist():
        for label in row:
            if label != IGNORED:
                expected -= torch.log_softmax(logits[i], dim=0)[label].item()
                i += 1
    assert task.loss(0.0)(logits, labels).item() == pytest.approx(expected / i, rel=1e-5)
    even = torch.zeros_like(logits)
    assert task.loss(0.1)(even, labels).item() == pytest.approx(math.log(VOCABULARY), rel=1e-5)


def test_evaluation_is_that_of_a_known_predictor():
    task = build()
    likely = int(task.unigram.argmax())
    test_set = task.test_set(300)
    labels = torch.cat([labels[labels != IGNORED] for _, labels in test_set])
    found = task.evaluate(Constant(task.unigram.log().float()), test_set, task.loss(0.1))
    assert found["test_loss"] == pytest.approx(-task.unigram[labels].log().mean().item(), rel=1e-4)
    assert found["masked_accuracy"] == pytest.approx((labels == likely).float().mean().item())
    assert found["test_loss"] == pytest.approx(task.plateau_loss, rel=0.05)


def test_the_plateau_is_the_cross_entropy_of_the_unigram_distribution():
    """Counted by hand, in a dictionary."""
    task = build()
    train, validation = (task._rows[split].tolist() for split in ("train", "validation"))
    counts = {number: 1 for number in range(FIRST_ORDINARY, VOCABULARY)}
    for number in train:
        if number in counts:
            counts[number] += 1
    total = sum(counts.values())
    losses = [-math.log(counts[number] / total) for number in validation if number in counts]
    assert task.plateau_loss == pytest.approx(sum(losses) / len(losses), rel=1e-9)
    assert task.unigram.sum().item() == pytest.approx(1) and not task.unigram[:FIRST_ORDINARY].any()


def test_no_constant_answer_beats_the_unigram_distribution_on_its_own_text():
    """Its own text being the training text and one more of each token."""
    task = build()
    row = torch.cat([task._rows["train"], torch.arange(FIRST_ORDINARY, VOCABULARY)])
    row = row[row >= FIRST_ORDINARY]
    best = -task.unigram[row].log().mean()
    for seed in range(20):
        other = (task.unigram.log() + 0.3 * torch.randn(VOCABULARY, generator=random(seed))).softmax(dim=0)
        assert -other[row].log().mean() > best


@pytest.mark.parametrize("offset", [-3, -1, 1, 2])
def test_a_neighbours_line_is_that_of_a_table_of_pairs(offset):
    """Written down naively, pair by pair."""
    task = build()
    train, validation = (pairs_of(task._rows[split].tolist(), offset) for split in ("train", "validation"))
    unigram, losses, beside = task.unigram.tolist(), [], {}
    for other, token in train:
        beside.setdefault(other, []).append(token)
    for other, token in validation:
        seen = beside.get(other, [])
        p = (seen.count(token) + language.PAIR_PRIOR * unigram[token]) / (len(seen) + language.PAIR_PRIOR)
        hidden = 0.15 if other >= FIRST_ORDINARY else 0.0
        losses.append(-hidden * math.log(unigram[token]) - (1 - hidden) * math.log(p))
    assert task.neighbour_loss(offset) == pytest.approx(sum(losses) / len(losses), rel=1e-9)


def pairs_of(row, offset):
    """(other, token) for each ordinary token that has another ``offset`` away."""
    return [(row[i + offset], token) for i, token in enumerate(row)
            if token >= FIRST_ORDINARY and 0 <= i + offset < len(row)]  # fmt: skip


def test_a_neighbour_tells_something():
    task = build()
    assert task.neighbour_loss(-1) < task.plateau_loss
    with pytest.raises(ValueError, match="distance must be a whole number >= 1, got 0"):
        task.neighbour_loss(0)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad, said",
    [
        ({"corpus": "docstring"}, "unknown corpus 'docstring'.*did you mean 'docstrings'"),
        ({"vocabulary": 260}, "vocabulary must be a whole number >= 261, got 260; the nearest valid value is 261"),
        ({"tokens": 2}, "tokens must be a whole number >= 3, got 2"),
        ({"mask_probability": 1.5}, r"mask_probability must be in \[0.001, 1\], got 1.5"),
        ({"documents": -1}, "documents must be a whole number >= 0, got -1"),
        ({"tokens": 500}, r"tokens 500 is more than the \d+ of the train text .*: at most \d+ are allowed"),
    ],
)
def test_bad_settings_are_named(bad, said):
    with pytest.raises(ValueError, match=said):
        build(**bad)


def test_unknown_splits_are_named():
    with pytest.raises(ValueError, match="unknown split 'test': allowed are train, validation"):
        build().sample(random(), 1, "test")


def test_without_tokenizers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"needs tokenizers, which the extra 'hf' installs: pip install -e '.\[hf\]'"):
        build()
