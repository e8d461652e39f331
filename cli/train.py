"""`thresher train`: one model on a prepared pool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thresher.choices import Optimizer, Schedule, Tracker
from thresher.cli.command import made
from thresher.cli.options import ModelOptions
from thresher.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Train(ModelOptions):
    """Train a proxy (or any model) on a prepared pool, on a subset, a weighting or a mixture of it.

    Started by torchrun, several processes share every batch, as in
    torchrun --nproc-per-node 2 -m thresher train ...
    """

    usage = """
    thresher train --pool pool --model 1M --out proxy
    thresher train --pool pool --selection selection --epochs 2 --out model
    thresher train --pool pool --model 1M --log-to tensorboard --out proxy
    """

    pool: Path
    """A prepared pool, from `thresher prepare`."""
    out: Path
    """Where the model artefact goes."""
    model: str = "0.4M"
    """Parameters ("0.4M"), or a name (llama:1M, rn-1/16, torchvision:resnet18, mlp-64x2, hf:PATH,
    lora-8:hf:PATH, module:function)."""
    selection: Path | None = None
    """Train on what this selection kept."""
    fraction: float = 1.0
    """Train on a random part of the pool's (of the selection's) tokens or images of this size."""
    weights: Path | None = None
    """A Parquet file with columns id and weight: each example's loss is multiplied by its weight."""
    held_out: Path | None = None
    """Prepared examples that the model's loss is followed on, by domain, beside that on its own."""
    mixture: str | None = None
    """Shares of the domains, as "web=0.5,books=0.5"."""
    epochs: float | None = None
    """Passes over the data; None: 1 for language, 30 for vision."""
    tokens_per_parameter: float | None = None
    """Instead: tokens that training sees in all, in parameters of the model."""
    batch_size: int | None = None
    learning_rate: float | None = None
    """None: the usual one for the model (docs/training.md)."""
    optimizer: Optimizer | None = None
    """adamw or sgd; None: adamw for language, sgd for vision."""
    schedule: Schedule | None = None
    """cosine, linear, onecycle or constant; None: by the task."""
    log_to: Tracker | None = None
    """tensorboard (files in OUT-tensorboard), wandb (offline with WANDB_MODE=offline) or trackio: told every step."""
    seed: int = 0
    device: str = "auto"

    def run(self, progress: Progress) -> dict[str, Any]:
        """Train the model."""
        from thresher.api.training import train

        model = train(
            self.model,
            self.pool,
            out=self.out,
            selection=self.selection,
            fraction=self.fraction,
            weights=self.weights,
            held_out=self.held_out,
            mixture=None if self.mixture is None else _shares(self.mixture),
            epochs=self.epochs,
            tokens_per_parameter=self.tokens_per_parameter,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            schedule=self.schedule,
            log_to=self.log_to,
            seed=self.seed,
            device=self.device,
            progress=progress,
            **self.model_options(),
        )
        return made(model.artifact)

    def then(self, result: Mapping[str, Any]) -> Sequence[object] | None:
        """The command that comes next."""
        from thresher.cli.following import after_training

        return after_training(self.pool, self.out) if self.selection is None else None


def _shares(mixture: str) -> dict[str, float]:
    from thresher.errors import InputError

    parts = [part.rpartition("=") for part in mixture.split(",")]
    try:
        shares = {name: float(share) for name, _, share in parts}
    except ValueError:
        shares = {}
    if len(shares) < len(parts) or "" in shares:
        raise InputError(f"mixture {mixture!r} cannot be read; write each domain once: domain=share,domain=share")
    return shares


COMMAND = Train
