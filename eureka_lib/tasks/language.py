"""Masked language modelling, as RoBERTa is trained (Liu et al. 2019): predict masked tokens of a text from the others.

A byte-level BPE tokeniser is trained on the training documents; all documents are concatenated to one row of tokens,
each ended by ``</s>``. A sample is a random piece of that row between ``<s>`` and ``</s>``, without padding. Each token
is *chosen* with a probability of 15 %, to be predicted; of these 80 % show ``<mask>``, 10 % a random token, and 10 %
themselves, drawn anew for every sample (dynamic masking). Test samples are the same for all runs, and there every
chosen token shows ``<mask>``: one that stays would be its own answer.

Two losses are derived from the text alone. Without attention to other places the best prediction is the *unigram*
distribution, whose cross-entropy is the plateau; with one neighbour, it is a table of bigrams.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from eureka_lib import paths
from eureka_lib.tasks import corpora
from eureka_lib.tasks.corpora import SPLITS
from eureka_lib.tasks.protocol import Loss, Pair, evaluation_generator
from eureka_lib.validation import check_choice, check_real, check_whole

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")  # RoBERTa's; all other tokens are *ordinary*
START, END, MASK = (SPECIAL.index(name) for name in ("<s>", "</s>", "<mask>"))
FIRST_ORDINARY = len(SPECIAL)
SMALLEST_VOCABULARY = FIRST_ORDINARY + 256  # every byte is a token
SHOWN_AS_MASK = 0.8  # share of the chosen tokens in training; half of the others show a random token, half stay
IGNORED = -100  # the label of tokens that are not chosen
PAIR_PRIOR = 100  # pseudo-counts of the unigram distribution in each row of the bigram table
DOCUMENTS_AT_ONCE = 1000  # per call of the tokeniser, whose encodings are large
TOKENS_AT_ONCE = 2**14  # test tokens per forward pass


@dataclass(frozen=True)
class LanguageConfig:
    """Text, tokeniser and masking; the defaults are RoBERTa's sizes, on WikiText-103."""

    name: str = "masked_language"
    corpus: str = "wikitext"  # a name in eureka_lib.tasks.corpora.CORPORA
    documents: int = 0  # the first so many of each split; 0: all
    vocabulary: int = 50_265  # most tokens of the tokeniser, special ones and single bytes included
    tokens: int = 512  # in a sample, <s> and </s> included
    mask_probability: float = 0.15  # of each ordinary token to be chosen

    def __post_init__(self):
        check_choice("corpus", self.corpus, corpora.CORPORA)
        check_whole("documents", self.documents)
        check_whole("vocabulary", self.vocabulary, SMALLEST_VOCABULARY)
        check_whole("tokens", self.tokens, 3)
        check_real("mask_probability", self.mask_probability, 1e-3, 1)


@dataclass(frozen=True)
class Batch:
    """B samples of L tokens, all (B, L)."""

    ids: Tensor  # int64: the text
    shown: Tensor  # int64: the text with masks
    chosen: Tensor  # bool: the tokens to be predicted

    @property
    def pair(self) -> Pair:
        """Inputs (B, 2, L): ``shown``, and 1 where chosen, to compute no other logits; labels (B, L): id or IGNORED."""
        return torch.stack([self.shown, self.chosen.long()], dim=1), self.ids.where(self.chosen, IGNORED)


class MaskedLanguageTask:
    """Samples of a text with masked tokens.

    Raises what :func:`load_tokens` raises, and ValueError if a split of the text is shorter than one sample.
    """

    config_class = LanguageConfig

    def __init__(self, config: LanguageConfig, device: torch.device | str = "cpu"):
        self.config = config
        self._device = device
        self._tokenised = load_tokens(config.corpus, config.documents, config.vocabulary)
        self._rows = {split: row.to(device) for split, row in self._tokenised.rows.items()}
        for split, row in self._rows.items():
            if len(row) < self._body:
                raise ValueError(f"tokens {config.tokens} is more than the {len(row)} of the {split} text (and <s> and "
                                 f"</s>): at most {len(row) + 2} are allowed")  # fmt: skip

    @classmethod
    def checksums(cls, config: LanguageConfig) -> dict[str, str]:
        """SHA-256 of the text, and of its tokens, which may differ between versions of tokenizers."""
        tokenised = load_tokens(config.corpus, config.documents, config.vocabulary)
        return {config.corpus: corpora.checksum(config.corpus), f"{config.corpus} as tokens": tokenised.sha256}

    @property
    def _body(self) -> int:
        return self.config.tokens - 2

    @property
    def sizes(self) -> dict[str, int]:
        """Number of tokens by split."""
        return {split: len(row) for split, row in self._rows.items()}

    def words(self, ids: Tensor) -> list[str]:
        """Tokens (L,) decoded one by one; a part of a character becomes a replacement character."""
        tokeniser = self._tokenised.tokeniser()
        return [tokeniser.decode([number], skip_special_tokens=False) for number in ids.tolist()]

    # ---- drawing samples

    def sample(self, generator: torch.Generator, n: int, split: str = "train") -> Batch:
        """Draw ``n`` samples. Same generator state, same batch. Raises ValueError for an unknown split."""
        last = len(self._rows[check_choice("split", split, SPLITS)]) - self._body
        starts = torch.randint(last + 1, (check_whole("n", n),), generator=generator, device=generator.device)
        return self._mask(generator, self._pieces(split, starts), SHOWN_AS_MASK)

    def _pieces(self, split: str, starts: Tensor) -> Tensor:
        """The pieces from ``starts`` (B,) on, between <s> and </s>: (B, L) int64."""
        places = starts[:, None] + torch.arange(self._body, device=starts.device)
        ids = F.pad(self._rows[split][places].long(), (1, 1), value=END)
        ids[:, 0] = START
        return ids

    def _mask(self, generator: torch.Generator, ids: Tensor, shown_as_mask: float) -> Batch:
        """Choose ordinary tokens of ``ids`` (B, L), and mask them."""
        where = {"generator": generator, "device": generator.device}
        chosen = (torch.rand(ids.shape, **where) < self.config.mask_probability) & (ids >= FIRST_ORDINARY)
        u = torch.rand(ids.shape, **where)
        others = torch.randint(FIRST_ORDINARY, self.config.vocabulary, ids.shape, **where)
        masked = others.where(u < (1 + shown_as_mask) / 2, ids).masked_fill(u < shown_as_mask, MASK)
        return Batch(ids, masked.where(chosen, ids), chosen)

    # ---- the Task protocol

    def pairs(self, generator: torch.Generator, batch_size: int) -> Iterator[Pair]:
        """Endless training batches, each a :attr:`Batch.pair`."""
        while True:
            yield self.sample(generator, batch_size).pair

    def loss(self, label_smoothing: float) -> Loss:
        """Cross-entropy in nats of the logits (N, V) of the N chosen tokens, in the order of the labels (B, L)."""
        return lambda logits, labels: F.cross_entropy(
            logits, labels[labels != IGNORED], label_smoothing=label_smoothing
        )

    def test_set(self, n: int) -> list[Pair]:
        """``n`` samples at equal distances in the validation text; chosen tokens all show <mask>."""
        last = len(self._rows["validation"]) - self._body
        starts = torch.linspace(0, last, check_whole("n", n, 1), device=self._device, dtype=torch.float64).long()
        inputs, labels = self._mask(evaluation_generator(self._device), self._pieces("validation", starts), 1.0).pair
        at_once = max(1, TOKENS_AT_ONCE // self.config.tokens)
        return list(zip(inputs.split(at_once), labels.split(at_once), strict=True))

    def evaluate(self, model: nn.Module, test_set: list[Pair], loss: Loss) -> dict[str, float]:
        """ "test_loss", nats per masked token (without label smoothing), and "masked_accuracy"."""
        total_loss, correct, n = 0.0, 0, 0
        for inputs, labels in test_set:
            logits, truth = model(inputs), labels[labels != IGNORED]
            total_loss += F.cross_entropy(logits, truth, reduction="sum").item()
            correct += (logits.argmax(dim=1) == truth).sum().item()
            n += len(truth)
        return {"test_loss": total_loss / n, "masked_accuracy": correct / n}

    # ---- losses derived from the text

    @cached_property
    def unigram(self) -> Tensor:
        """Token frequencies of the training text with add-one smoothing: (V,) float64, 0 for special tokens."""
        counts = torch.bincount(self._rows["train"], minlength=self.config.vocabulary).double() + 1
        counts[:FIRST_ORDINARY] = 0
        return counts / counts.sum()

    @cached_property
    def plateau_loss(self) -> float:
        """Nats per masked validation token of the unigram distribution, mean over all ordinary tokens."""
        row = self._rows["validation"]
        return -float(self.unigram[row[row >= FIRST_ORDINARY]].log().mean())

    def neighbour_loss(self, offset: int) -> float:
        """Nats per masked validation token of a table of the training text's pairs at one distance.

        ``offset`` is that of the other token, -1 for the one to the left. Counts are smoothed by :data:`PAIR_PRIOR`
        pseudo-counts of the unigram distribution, which is also the prediction where the other token is masked itself.
        Raises ValueError for an offset of 0.
        """
        check_whole("distance", abs(offset), 1)
        size = self.config.vocabulary
        pairs, counts = _pairs(self._rows["train"], offset, size).unique(return_counts=True)
        asked = _pairs(self._rows["validation"], offset, size)
        places = torch.searchsorted(pairs, asked).clamp_max(len(pairs) - 1)
        together = counts[places].where(pairs[places] == asked, 0)
        other, unigram = asked // size, self.unigram[asked % size]
        of_other = torch.bincount(pairs // size, counts.double(), minlength=size)[other]
        known = ((together + PAIR_PRIOR * unigram) / (of_other + PAIR_PRIOR)).log()
        p = self.config.mask_probability * (other >= FIRST_ORDINARY).double()
        return -float((p * unigram.log() + (1 - p) * known).mean())


def _pairs(row: Tensor, offset: int, vocabulary: int) -> Tensor:
    """Each ordinary token of a row and the token ``offset`` from it, if any, as one number: other * V + token."""
    token = (row[-offset:] if offset < 0 else row[:-offset]).long()
    other = (row[:offset] if offset < 0 else row[offset:]).long()
    return (other * vocabulary + token)[token >= FIRST_ORDINARY]


# ---- from text to tokens


@dataclass(frozen=True)
class Tokenised:
    """A text as tokens: by split one row (N,) int32, each document ended by </s>; and its tokeniser as JSON."""

    rows: dict[str, Tensor]
    tokeniser_json: str

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over the tokens of both splits, and the tokeniser."""
        digest = hashlib.sha256(self.tokeniser_json.encode())
        for split in SPLITS:
            digest.update(hashlib.sha256(self.rows[split].numpy()).digest())
        return digest.hexdigest()

    def tokeniser(self) -> "Tokenizer":
        """The tokeniser itself, from the tokenizers library."""
        return _tokenizers().Tokenizer.from_str(self.tokeniser_json)


@lru_cache(maxsize=2)
def load_tokens(corpus: str, documents: int, vocabulary: int) -> Tokenised:
    """The first ``documents`` (0: all) of each split of a corpus as tokens of a ``vocabulary``.

    Cached in the folder ``tokens`` of :func:`eureka_lib.paths.data_dir` by all that decides them, this module's source
    included. Raises what :func:`eureka_lib.tasks.corpora.load_text` raises, and ImportError without tokenizers.
    """
    check_whole("documents", documents)
    check_whole("vocabulary", vocabulary, SMALLEST_VOCABULARY)
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    facts = [corpora.checksum(corpus), documents, vocabulary, metadata.version("tokenizers"), source]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    path = paths.data_dir() / "tokens" / f"{corpus}-{key}.safetensors"
    if path.exists():
        try:
            return _read(path)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            warnings.warn(f"{path} is damaged ({error}); tokenising the text again", stacklevel=2)
    texts = {split: corpora.load_text(corpus, split)[: documents or None] for split in SPLITS}
    tokeniser = train_tokeniser(texts["train"], vocabulary)
    found = Tokenised({split: _tokenise(tokeniser, text) for split, text in texts.items()}, tokeniser.to_str())
    notes = {"tokeniser": found.tokeniser_json, "sha256": found.sha256}
    paths.keep(path, safetensors.torch.save(found.rows, notes))
    return found


def _read(path: Path) -> Tokenised:
    with safe_open(path, "pt") as file:
        notes = file.metadata()
        found = Tokenised({split: file.get_tensor(split) for split in SPLITS}, notes["tokeniser"])
    if found.sha256 != notes["sha256"]:
        raise ValueError("its tokens do not match their checksum")
    return found


def train_tokeniser(text: corpora.Text, vocabulary: int) -> "Tokenizer":
    """A byte-level BPE tokeniser (Sennrich et al. 2016, Radford et al. 2019) of a text, with RoBERTa's special tokens.

    Encoding is lossless, and no text becomes a special token, even if it is written like one. A short text may give
    fewer tokens than ``vocabulary``.
    """
    library = _tokenizers()
    tokeniser = library.Tokenizer(library.models.BPE())
    tokeniser.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokeniser.decoder = library.decoders.ByteLevel()
    tokeniser.encode_special_tokens = True
    alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokeniser.train_from_iterator(text, trainer)
    return tokeniser


def _tokenise(tokeniser: "Tokenizer", text: corpora.Text) -> Tensor:
    """All documents in one row (N,) int32, each ended by </s>."""
    pieces = [
        torch.tensor([*encoding.ids, END], dtype=torch.int32)
        for start in range(0, len(text), DOCUMENTS_AT_ONCE)
        for encoding in tokeniser.encode_batch(text[start : start + DOCUMENTS_AT_ONCE], add_special_tokens=False)
    ]
    return torch.cat(pieces)


def _tokenizers():
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError(
            "the task masked_language needs tokenizers, which the extra 'hf' installs: pip install -e '.[hf]' in the "
            "folder of this project"
        ) from error
    return tokenizers
