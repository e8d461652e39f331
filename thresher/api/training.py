"""The verb that trains: one model on a pool, or on a subset, a weighting or a mixture of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from thresher.api.handle import Source
from thresher.api.handles import Examples, Model
from thresher.artifacts import is_artifact
from thresher.data.examples import Examples as PreparedExamples
from thresher.errors import InputError
from thresher.progress import SILENT, Progress
from thresher.proxies.models.spec import model_spec
from thresher.proxies.planned import say_training
from thresher.proxies.training import single
from thresher.proxies.training.chosen import config_for
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.request import check_indices
from thresher.rules import ruled
from thresher.seeds import numpy_rng
from thresher.selection.budget import num_to_keep, take
from thresher.studies.experiments.training_sets import kept_positions
from thresher.trackers import tracker_of

Weights = Mapping[str, float] | np.ndarray | str | Path


@ruled
def train(
    model: str,
    pool: Source,
    *,
    out: str | Path,
    config: TrainConfig | None = None,
    selection: Source | Int[np.ndarray, "m"] | None = None,
    fraction: float = 1.0,
    weights: Weights | None = None,
    mixture: Mapping[str, float] | None = None,
    log_to: str | None = None,
    held_out: Source | None = None,
    parametrization: str | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = SILENT,
    **settings: Any,
) -> Model:
    """Train a model on a prepared pool, or on a subset, a weighting or a mixture of it.

    model      parameters ("0.4M"), or a name: llama:1M, rn-1/16, mlp-64x2, torchvision:resnet18, hf:PATH,
               lora-8:hf:PATH, module:function
    config     how it is trained; None: the defaults of its task, with `settings` (epochs, batch_size, ...) instead
    selection  train on what it kept, or on these positions
    fraction   train on a random part of the pool's (of the selection's) tokens or images of this size
    weights    each example's loss is multiplied by its own: by id, as an array [n] in the pool's order, or a Parquet
               file with the columns id and weight
    mixture    the share of each domain in an epoch
    log_to     tensorboard, wandb or trackio: the loss and the learning rate of every step (`thresher.trackers`)
    held_out   prepared examples that the loss is followed on, by domain (`Model.facts["curves"]`)
    parametrization  of the ladder's models: completep or standard

    Raises InputError for what cannot be trained so.
    """
    tracker = None if log_to is None else tracker_of(log_to, Path(out))
    examples = Examples.of(pool).load()
    if config is not None and settings:
        raise InputError(f"{next(iter(settings))} is given beside a config, which says it too; leave one of them out")
    spec = model_spec(model, examples, parametrization=parametrization)
    indices, budget = _chosen(examples, selection, fraction, seed)
    given = {name: value for name, value in settings.items() if value is not None}
    names = ("tokens_per_parameter", *TrainConfig.__dataclass_fields__)
    if unknown := [name for name in given if name not in names]:
        known = ", ".join(names)
        raise InputError(f"{unknown[0]} is no setting of a training; pass some of {known}")
    config = config or config_for(spec, examples, **given)
    if not is_artifact(Path(out)):
        unit = budget or float(np.asarray(examples.lengths())[slice(None) if indices is None else indices].sum())
        say_training(spec, config, unit, examples, device)
    artifact = single.train(
        spec,
        examples,
        out=Path(out),
        config=config,
        seed=seed,
        indices=indices,
        budget=budget,
        weights=None if weights is None else _weights(weights, examples.ids),
        mixture=None if mixture is None else dict(mixture),
        tracker=tracker,
        held_out=None if held_out is None else Examples.of(held_out).load(),
        device=device,
        progress=progress,
    )
    return Model(artifact)


def _chosen(
    pool: PreparedExamples, selection: Any, fraction: float, seed: int
) -> tuple[Int[np.ndarray, "m"], int | None]:
    """Positions to train on, and how much of what they hold makes an epoch (None: all)."""
    indices = np.arange(len(pool)) if selection is None else positions_of(selection, pool)
    lengths = np.asarray(pool.lengths())
    budget = num_to_keep(int(lengths[indices].sum()), fraction=fraction)
    if fraction == 1:
        return indices, None
    order = numpy_rng(seed, "subset").permutation(indices)
    return np.sort(take(order, budget, lengths).kept), budget


def positions_of(selection: Any, pool: PreparedExamples) -> Int[np.ndarray, "m"]:
    """What a selection of the pool kept, as a handle, a path or positions, in ascending order."""
    if isinstance(selection, np.ndarray | list | tuple):
        return np.sort(check_indices(selection, len(pool)))
    return kept_positions(Path(getattr(selection, "path", selection)), pool)


def _weights(weights: Weights, ids: Sequence[str]) -> Float[np.ndarray, "n"]:
    """The weight of each example of the pool, matched by id."""
    if isinstance(weights, np.ndarray):
        return weights.astype(np.float64)
    by_id = weights if isinstance(weights, Mapping) else _read_weights(Path(weights))
    name = "the mapping of weights" if isinstance(weights, Mapping) else str(weights)
    missing = next((id for id in ids if id not in by_id), None)
    if missing is not None:
        raise InputError(f"{name} has no weight for the example {missing!r}; give one for every example")
    return np.array([by_id[id] for id in ids], dtype=np.float64)


def _read_weights(path: Path) -> dict[str, float]:
    try:
        table = pq.read_table(path, columns=["id", "weight"])
    except (OSError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{path}: no weights can be read ({first}); give Parquet with id and weight") from None
    by_id = dict(zip(table["id"].to_pylist(), table["weight"].to_pylist(), strict=True))
    if len(by_id) < len(table):
        raise InputError(f"{path} has ids that occur twice; give every example one weight")
    return by_id
