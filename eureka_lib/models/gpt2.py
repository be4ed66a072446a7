"""A GPT-2 that reads vectors instead of words, for in-context regression (Garg et al. 2022).

Vectors -> linear read-in, the body of transformers' GPT-2 at random initial weights, linear read-out; its prediction at
each x_i, every second token. Attention is causal, so a prediction sees nothing that comes later. The configuration
needs no transformers; the model does.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from eureka_lib.attention.layer import check_transformer
from eureka_lib.models.hosted import Hosted
from eureka_lib.validation import check_real


@dataclass(frozen=True)
class InContextGPT2Config:
    """Size and attention of the GPT-2; the defaults are the paper's (Garg et al. 2022)."""

    name: str = "gpt2"
    depth: int = 12  # blocks
    width: int = 256  # features of a token
    heads: int = 8
    attention: str = "softmax"  # a name in attention.registry
    position_std: float = 0.02  # standard deviation of the initial position embedding; GPT-2's, as all other weights'

    def __post_init__(self):
        check_transformer(self)
        check_real("position_std", self.position_std, 0)


class InContextGPT2(Hosted):
    """Tokens (B, 2P, d), x and y in turn, to predictions (B, P), one at each x; ImportError without transformers."""

    def __init__(self, config: InContextGPT2Config, dimensions: int, points: int):
        super().__init__()
        from eureka_lib.attention import huggingface

        body = huggingface.transformers.GPT2Config(
            vocab_size=1, n_positions=2 * points, n_embd=config.width, n_layer=config.depth, n_head=config.heads,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False, bos_token_id=None, eos_token_id=None,
            activation_function="gelu_pytorch_tanh",
        )  # fmt: skip
        self.read_in = nn.Linear(dimensions, config.width)
        self.host(huggingface.transformers.AutoModel, body, config.attention)
        self.body.set_input_embeddings(None)  # there are no words
        nn.init.normal_(self.body.wpe.weight, std=config.position_std)
        self.read_out = nn.Linear(config.width, 1)

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that are never decayed, besides biases and norms."""
        return {"body.wpe.weight"}

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, 2P, d) -> (B, P)."""
        features = self.body(inputs_embeds=self.read_in(tokens)).last_hidden_state
        return self.read_out(features[:, ::2])[..., 0]
