"""`thresher train`: one model on a prepared pool."""

from dataclasses import dataclass
from pathlib import Path

from thresher.cli.command import made
from thresher.cli.options import ModelOptions


@dataclass(frozen=True, kw_only=True)
class Train(ModelOptions):
    """Train a proxy (or any model) on a prepared pool, on a subset, a weighting or a mixture of it.

    Started by torchrun, several processes share every batch:
    torchrun --nproc-per-node 2 -m thresher.cli.main train ...
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
    mixture: str | None = None
    """Shares of the domains, as "web=0.5,books=0.5"."""
    epochs: float | None = None
    """Passes over the data; None: 1 for language, 30 for vision."""
    batch_size: int | None = None
    learning_rate: float | None = None
    """None: from the model's width."""
    optimizer: str | None = None
    """adamw or sgd; None: adamw for language, sgd for vision."""
    schedule: str | None = None
    """cosine, linear, onecycle or constant; None: by the task."""
    seed: int = 0
    device: str = "auto"

    def run(self, progress):
        from thresher.data.examples import open_examples
        from thresher.proxies.models.spec import model_spec
        from thresher.proxies.training.trainer import TrainConfig, train

        pool = open_examples(self.pool)
        wanted = {
            name: getattr(self, name) for name in ("epochs", "batch_size", "learning_rate", "optimizer", "schedule")
        }
        wanted |= self.model_options()
        spec, (indices, budget) = model_spec(self.model, pool), self._chosen(pool)
        artifact = train(
            spec,
            pool,
            out=self.out,
            config=TrainConfig.for_task(
                spec["task"], **{name: value for name, value in wanted.items() if value is not None}
            ),
            seed=self.seed,
            indices=indices,
            budget=budget,
            weights=None if self.weights is None else self._weights(pool.ids),
            mixture=None if self.mixture is None else self._mixture(),
            device=self.device,
            progress=progress,
        )
        return made(artifact)

    def _chosen(self, pool):
        """Positions to train on, and how much of what they hold makes an epoch (None: all)."""
        import numpy as np

        from thresher.seeds import numpy_rng
        from thresher.selection.budget import num_to_keep, take
        from thresher.studies.experiments.training_sets import kept_positions

        indices = np.arange(len(pool)) if self.selection is None else kept_positions(self.selection, pool)
        lengths = np.asarray(pool.lengths())
        budget = num_to_keep(int(lengths[indices].sum()), fraction=self.fraction)
        if self.fraction == 1:
            return indices, None
        order = numpy_rng(self.seed, "subset").permutation(indices)
        return np.sort(take(order, budget, lengths).kept), budget

    def _weights(self, ids):
        """The weight of each example of the pool [n], matched by id."""
        import numpy as np
        import pyarrow.parquet as pq

        from thresher.errors import InputError

        try:
            table = pq.read_table(self.weights, columns=["id", "weight"])
        except (OSError, ValueError, KeyError) as error:
            first = str(error).splitlines()[0]
            raise InputError(
                f"{self.weights}: no weights can be read ({first}); give Parquet with id and weight"
            ) from None
        by_id = dict(zip(table["id"].to_pylist(), table["weight"].to_pylist(), strict=True))
        if len(by_id) < len(table):
            raise InputError(f"{self.weights} has ids that occur twice; give every example one weight")
        missing = next((id for id in ids if id not in by_id), None)
        if missing is not None:
            raise InputError(f"{self.weights} has no weight for the example {missing!r}; give one for every example")
        return np.array([by_id[id] for id in ids], dtype=np.float64)

    def _mixture(self) -> dict[str, float]:
        from thresher.errors import InputError

        parts = [part.rpartition("=") for part in str(self.mixture).split(",")]
        try:
            shares = {name: float(share) for name, _, share in parts}
        except ValueError:
            shares = {}
        if len(shares) < len(parts) or "" in shares:
            raise InputError(
                f"mixture {self.mixture!r} cannot be read; write each domain once: domain=share,domain=share"
            )
        return shares


COMMAND = Train
