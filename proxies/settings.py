"""What a model to be trained is asked to be: its size and how it is trained, before its data are known."""

from dataclasses import asdict, dataclass
from typing import Any

from thresher.choices import Optimizer, Parametrization, Precision, Schedule

LATER = (
    "eps_root", "keep_optimizer", "parametrization", "tokens_per_parameter", "num_tokens", "shuffle_sequences"
)  # fmt: skip
"""Settings that came later: in a request only where they are in use."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """A model and how it is trained, as the tables `[proxy]` and `[reference]` of a study say it.

    What is None follows from the size.
    """

    size: str
    """The one dial: parameters ("0.4M"), or a model's name ("rn-1/16", "mlp-64x2", "hf:PATH", "module:function")."""
    parametrization: Parametrization | None = None
    """How a model of the ladder scales with its width and depth: completep, or standard, which is that of
    `transformers`; None: completep."""
    epochs: float | None = None
    """Passes over its data; None: 1 for language, 30 for vision."""
    tokens_per_parameter: float | None = None
    """Tokens that training sees in all, in parameters of the model (embeddings included), instead of `epochs`."""
    batch_size: int | None = None
    learning_rate: float | None = None
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    eps_root: float | None = None
    """What AdamW adds inside of its root, for trainings that metagradients go back through; 1e-6 is usual."""
    precision: Precision | None = None
    """float32 or bf16; None: bf16 where the chip has it."""
    accumulate: int | None = None
    """A batch goes through the model in so many parts, for memory; the result is the whole batch's."""
    activation_checkpointing: bool | None = None
    """Compute activations twice instead of keeping them."""
    compile: bool | None = None
    """Through torch.compile."""
    keep_optimizer: bool | None = None
    """Keep the optimiser's state at the end, whose second moments trackstar scales gradients by."""
    shuffle_sequences: bool | None = None
    """Of packed text: permute its sequences, so that a batch is of many documents and not of a few neighbours; None:
    yes.
    """

    @property
    def record(self) -> dict[str, Any]:
        """Everything as an artefact's request holds it; what came later is there only where it is said."""
        return {name: value for name, value in asdict(self).items() if value is not None or name not in LATER}
