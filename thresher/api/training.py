"""Verbs that train: one model, a validation of selections, and the ground truth that scores are judged by."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from thresher.api.handle import Source
from thresher.api.handles import Examples, Model, Quality, Validation, named
from thresher.api.lds_check import BASELINE, TOP, check_judged, check_ladder
from thresher.api.scorer_check import Asked, say_idle
from thresher.artifacts import is_artifact
from thresher.attribution.curvature.ekfac import DAMPING
from thresher.attribution.quality.lds import check_subsets
from thresher.attribution.scoring.weighting import Q
from thresher.data.examples import Examples as PreparedExamples
from thresher.errors import InputError, unknown
from thresher.idle import VALIDATING, given_to
from thresher.progress import SILENT, Progress
from thresher.proxies.models.spec import model_spec, task_of
from thresher.proxies.planned import Planned, say_training
from thresher.proxies.settings import ModelSettings
from thresher.proxies.trainable import check_trainable
from thresher.proxies.training import single
from thresher.proxies.training.chosen import config_for
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.request import check_indices
from thresher.rules import ruled
from thresher.seeds import numpy_rng
from thresher.selection.budget import num_to_keep, take
from thresher.studies.experiments import validation
from thresher.studies.experiments.lds import judge, train_checkpoints
from thresher.studies.experiments.lds_by_size import LadderPlan, lds_ladder
from thresher.studies.experiments.retraining import retrain
from thresher.studies.experiments.training_sets import TrainingSet, held_by, kept_positions, random_set
from thresher.studies.scoring.basis import Attribution, Basis
from thresher.trackers import tracker_of
from thresher.workspace import Workspace

Weights = Mapping[str, float] | np.ndarray | str | Path
USUAL = ("trak", "grad-cosine", "embedding", "random", "bm25")
"""What TRAK is compared with where nothing else is asked for; the last compares texts."""


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


@ruled
def validate(
    pool: Source,
    arms: Mapping[str, Any],
    targets: Mapping[str, Source] | Source,
    *,
    out: str | Path,
    off_targets: Mapping[str, Source] | None = None,
    model: str = "1.6M",
    seeds: int = 3,
    random_budgets: Sequence[float] = (),
    costs: Mapping[str, float] | None = None,
    workers: int | None = None,
    executor: str = "processes",
    seed: int = 0,
    device: str = "auto",
    progress: Progress = SILENT,
    **settings: Any,
) -> Validation:
    """Train the reference on selections and on random data, at equal tokens from paired seeds, and compare.

    arms            name -> a selection of the pool, or positions in it; random data is added unless an arm is so called
    targets         name -> held-out prepared examples that no selection has seen
    off_targets     name -> data to report the losses of as well
    random_budgets  random data of so many times the arms' tokens as well: gives the compute multiplier
    costs           arm -> FLOPs that choosing its data took, for the multiplier with that cost
    settings        epochs, batch_size, learning_rate, parametrization, ... (`ModelSettings`)

    Every run is an artefact under `out`; the same call resumes. Raises InputError before anything is trained.
    """
    VALIDATING.check(given_to(validate, locals()))
    examples = Examples.of(pool).load()
    sets = [TrainingSet.of(name, _positions(arm, examples)) for name, arm in arms.items()]
    if "random" not in arms:
        lengths = examples.lengths()
        smallest = min(min(held) for held in held_by(sets, lengths, 1).values())
        sets.append(random_set(lengths, smallest, num_repeats=seeds, seed=seed))
    plan = validation.ValidationPlan(
        num_seeds=seeds, random_budgets=random_budgets, costs=dict(costs or {}), workers=workers
    )
    artifact = validation.validate(
        examples,
        sets,
        {name: Examples.of(target).load() for name, target in named(targets).items()},
        {name: Examples.of(target).load() for name, target in (off_targets or {}).items()},
        model=ModelSettings(size=model, **settings),
        plan=plan,
        seed=seed,
        workspace=Workspace(Path(out), device, progress, executor),
    )
    return Validation(artifact)


@ruled
def lds(
    pool: Source,
    target: Source,
    *,
    out: str | Path,
    model: str = "0.4M",
    scorers: Sequence[str] = (),
    scores: Mapping[str, str | Path] | None = None,
    subsets: int = 100,
    fraction: float = 0.5,
    repeats: int = 2,
    checkpoints: int = 5,
    checkpoint_fraction: float = 1.0,
    k: int | None = None,
    projection: str = "auto",
    views: Sequence[str] = (),
    damping: float | Literal["loo"] | None = None,
    curvature_damping: float | Mapping[str, float] = DAMPING,
    rank: int | None = None,
    q: str = Q,
    output: str = "margin",
    baseline: str = BASELINE,
    ladder: Sequence[str] = (),
    own: bool = True,
    top: int = TOP,
    workers: int | None = None,
    executor: str = "processes",
    seed: int = 0,
    device: str = "auto",
    progress: Progress = SILENT,
    **settings: Any,
) -> Quality:
    """How well scores predict retraining on random subsets of the pool (the linear datamodeling score, TRAK eq. 3).

    scorers          names of `thresher.scorers`; none: those of USUAL that apply
    scores           name -> a .npy file [pool, target] of more scores to judge
    output           what retraining is measured by: margin or loss
    baseline         the scorer that differences and ratios are to
    subsets, fraction, repeats  of the ground truth; two or more repeats give the noise ceiling
    checkpoints      models to attribute with, each on a random `checkpoint_fraction` of the pool (1: all of it)
    ladder           sizes to attribute with instead, against ground truth from `model`; `own` judges every size by its
                     own retrainings too, `top` is how many of the most helpful examples are compared
    curvature_damping, rank  of the ekfac scorers, as `score` has them
    settings         epochs, batch_size, learning_rate, parametrization, ... (`ModelSettings`)

    Everything is under `out`; the same call resumes. Raises InputError before anything is trained.
    """
    examples, judged = Examples.of(pool).load(), Examples.of(target).load()
    names = tuple(scorers) or tuple(USUAL if task_of(examples) == "language" else USUAL[:-1])
    given = {name: Path(path) for name, path in (scores or {}).items()}
    against = None
    if output not in ("margin", "loss"):
        raise unknown("output", output, ("margin", "loss"))
    if ladder:
        check_ladder(scorers=scorers, given=given, checkpoint_fraction=checkpoint_fraction, baseline=baseline)
    else:
        judging = {"pool": examples, "target": judged, "baseline": baseline, "own": own, "top": top}
        against = check_judged(names, given, **judging)
    check_subsets(subsets, len(examples), fraction)
    asked = Asked(
        k=k, projection=projection, views=tuple(views), damping=damping, rank=rank, q=None if q == Q else q,
        curvature_damping=None if curvature_damping == DAMPING else curvature_damping,
    )  # fmt: skip
    say_idle(("trak",) if ladder else names, asked)
    table = ModelSettings(size=model, **settings)
    workspace = Workspace(Path(out), device, progress, executor)
    training = {"seed": seed, "workers": workers, "workspace": workspace}
    options = Attribution(
        k=k, projection=projection, views=tuple(views), damping=damping, q=q, seed=seed, rank=rank,
        curvature_damping=curvature_damping,
    )  # fmt: skip
    drawn = {"num_subsets": subsets, "fraction": fraction, "repeats": repeats}
    check_trainable(examples, table, {"target": judged})
    if ladder:
        plan = LadderPlan(**drawn, checkpoints=checkpoints, own=own, top=top)
        return Quality(lds_ladder(examples, judged, table, tuple(ladder), options, plan, output=output, **training))
    budget = fraction * float(examples.lengths().sum())
    further = [Planned(table, [budget] * (subsets * repeats), keeps=False)]
    models = train_checkpoints(
        examples, table, count=checkpoints, fraction=checkpoint_fraction, further=further, **training
    )
    truth = retrain(examples, judged, table, **drawn, **training)
    basis = Basis(models, examples, options, workspace)
    return Quality(judge(basis, judged, truth, names, given=given, output=output, baseline=against, seed=seed))


def _chosen(
    pool: PreparedExamples, selection: Any, fraction: float, seed: int
) -> tuple[Int[np.ndarray, "m"], int | None]:
    """Positions to train on, and how much of what they hold makes an epoch (None: all)."""
    indices = np.arange(len(pool)) if selection is None else _positions(selection, pool)
    lengths = np.asarray(pool.lengths())
    budget = num_to_keep(int(lengths[indices].sum()), fraction=fraction)
    if fraction == 1:
        return indices, None
    order = numpy_rng(seed, "subset").permutation(indices)
    return np.sort(take(order, budget, lengths).kept), budget


def _positions(selection: Any, pool: PreparedExamples) -> Int[np.ndarray, "m"]:
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
