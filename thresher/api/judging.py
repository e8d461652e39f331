"""Verbs that judge: selections by what they gain, scores by what retraining does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from thresher.api.handle import Source
from thresher.api.handles import Examples, Quality, Validation, named
from thresher.api.lds_check import BASELINE, TOP, check_judged, check_ladder
from thresher.api.scorer_check import Asked, say_idle
from thresher.api.training import positions_of
from thresher.attribution.curvature.ekfac import DAMPING
from thresher.attribution.quality.lds import check_subsets
from thresher.attribution.scoring.weighting import Q
from thresher.errors import InputError, unknown
from thresher.idle import VALIDATING, given_to
from thresher.progress import SILENT, Progress
from thresher.proxies.models.spec import task_of
from thresher.proxies.planned import Planned
from thresher.proxies.settings import ModelSettings
from thresher.proxies.trainable import check_trainable
from thresher.rules import ruled
from thresher.studies.experiments import validation
from thresher.studies.experiments.lds import judge, train_checkpoints
from thresher.studies.experiments.lds_by_size import LadderPlan, lds_ladder
from thresher.studies.experiments.retraining import retrain
from thresher.studies.experiments.training_sets import TrainingSet, held_by, random_set
from thresher.studies.scoring.basis import Attribution, Basis
from thresher.workspace import Workspace

USUAL = ("trak", "grad-cosine", "embedding", "random", "bm25")
"""What TRAK is compared with where nothing else is asked for; the last compares texts."""


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
    if not arms:
        raise InputError("no arms to compare with random data; give at least one selection")
    examples = Examples.of(pool).load()
    sets = [TrainingSet.of(name, positions_of(arm, examples)) for name, arm in arms.items()]
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
