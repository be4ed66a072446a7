"""RoBERTa (Liu et al. 2019) for masked language modelling: transformers' own, at random initial weights.

Embeddings of tokens and learned positions, post-norm blocks, and a head that gives the logits of all tokens, its
matrix being that of the embeddings. The head is applied to chosen tokens only. The configuration needs no transformers;
the model does.
"""

from dataclasses import dataclass

from torch import Tensor

from eureka_lib.attention.layer import check_transformer
from eureka_lib.models.hosted import Hosted
from eureka_lib.validation import check_real

FIRST_POSITION = 2  # RoBERTa counts positions from the one after its padding token's number, which is 1


@dataclass(frozen=True)
class RobertaConfig:
    """Size and attention of RoBERTa; the defaults are RoBERTa-base's (Liu et al. 2019)."""

    name: str = "roberta"
    depth: int = 12  # blocks
    width: int = 768  # features of a token
    heads: int = 12
    mlp_ratio: float = 4.0  # hidden features of the MLP / width
    attention: str = "softmax"  # a name in attention.registry
    dropout: float = 0.1  # of embeddings, attention weights and what blocks add
    weight_std: float = 0.02  # standard deviation of the initial weights

    def __post_init__(self):
        check_transformer(self)
        check_real("mlp_ratio", self.mlp_ratio, 1 / self.width)
        check_real("dropout", self.dropout, 0, 0.999)
        check_real("weight_std", self.weight_std, 0)


class Roberta(Hosted):
    """Inputs (B, 2, L), tokens and 1 where one is chosen, to logits (N, V) of the N chosen ones, sample by sample.

    Tokens are numbered as RoBERTa's: 0 begins a sample, 1 is padding, 2 ends it. Raises ImportError
    without transformers.
    """

    def __init__(self, config: RobertaConfig, vocabulary: int, tokens: int):
        super().__init__()
        from eureka_lib.attention import huggingface

        body = huggingface.transformers.RobertaConfig(
            vocab_size=vocabulary, max_position_embeddings=tokens + FIRST_POSITION, type_vocab_size=1,
            num_hidden_layers=config.depth, hidden_size=config.width, num_attention_heads=config.heads,
            intermediate_size=round(config.width * config.mlp_ratio), initializer_range=config.weight_std,
            hidden_dropout_prob=config.dropout, attention_probs_dropout_prob=config.dropout, layer_norm_eps=1e-5,
        )  # fmt: skip
        self.host(huggingface.transformers.AutoModelForMaskedLM, body, config.attention)

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that are never decayed, besides biases and norms."""
        return {"body.roberta.embeddings.position_embeddings.weight"}

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, 2, L) -> (N, V)."""
        ids, chosen = inputs.unbind(dim=1)
        features = self.body.roberta(ids).last_hidden_state
        return self.body.lm_head(features[chosen.bool()])
