"""Verbs of attribution: scores for targets, and of examples for themselves."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from thresher.api.checkpoint import listed, names_of, pairs_of
from thresher.api.handle import Handle, Source
from thresher.api.handles import Examples, FeatureStore, Scores, named
from thresher.api.scorer_check import AUTO, Asked, check_features_given, check_scorer, say_idle, say_unread
from thresher.artifacts import Artifact
from thresher.attribution.curvature.ekfac import DAMPING
from thresher.attribution.features import featurize as features_module
from thresher.attribution.scoring import scores as scores_module
from thresher.attribution.scoring.kernel import Damping
from thresher.attribution.scoring.traker_backend import score_with_traker, traker_options
from thresher.errors import InputError
from thresher.progress import SILENT, Progress
from thresher.rules import ruled
from thresher.scorers import scorer_named
from thresher.scores import check_names
from thresher.studies.scoring.basis import Attribution, Basis
from thresher.studies.scoring.effort import say_effort
from thresher.studies.scoring.score import score_by
from thresher.workspace import Workspace, evidence_folder

log = logging.getLogger(__name__)
FEW_TARGETS = 4
"""Slopes along so many directions take about two plain passes: docs/log.md, slopes along directions."""


@ruled
def score(
    pool: Source,
    targets: Mapping[str, Source] | Source,
    *,
    out: str | Path,
    models: Any = (),
    scorer: str = AUTO,
    backend: str = "thresher",
    damping: Damping = None,
    curvature_damping: float | Mapping[str, float] | None = None,
    q: str | None = None,
    convention: str = "thresher",
    goal: str = "auto",
    top: int = 0,
    per_token: int = 0,
    k: int | None = None,
    projection: str = "auto",
    views: Sequence[str] = (),
    output: str = "margin",
    parameters: str | None = None,
    sample: int = 2000,
    steps: int = 20,
    window: int | None = None,
    rank: int | None = None,
    memory_gb: float = 4.0,
    batch_tokens: int | None = None,
    evidence: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Scores:
    """What each pool example does to the targets: one column a target, higher is more helpful.

    pool, targets  features (from `featurize`), or prepared examples with `models`; targets by name, or one by itself
    scorer         a name of `thresher.scorers`; auto: for prepared examples and at most 4 targets, where nothing is
                   asked that needs features, ekfac of text under a language model and direction of examples with
                   classes; else trak. All but trak take prepared examples
    backend        thresher, or traker: trak by that package, on the CPU
    damping        of trak, dual, direction and trackstar: a multiple of their kernel's mean diagonal, or loo; with
                   another package's convention or backend lambda itself (None: 0)
    curvature_damping  of the ekfac scorers: a multiple of the mean eigenvalue of each group of parameters (None: .1),
                   or one by kind of group: {"embedding": 1.0, "norm": .1}
    goal           labels, selection or auto (labels where all are labelled with classes)
    top            of trak and dual: also keep so many most helpful and most harmful examples of each target example
    per_token      of direction, ekfac and ekfac-cg: also keep which tokens carried the scores, of the so many highest
                   and lowest of each target (`Scores.tokens`)
    views          of images: flip and shift, which gradients of pool and targets are averaged over
    sample         pool examples that stand for the pool: in the kernel of direction, in the factors of ekfac
    steps          of conjugate gradients, in ekfac-cg
    window         last steps of training that metagradient and adamw-influence ask about; None: all
    rank           of the ekfac scorers, for many targets: solve and score along so many combinations of them; None:
                   along each, exact
    evidence       a folder for what had to be made (features, factors of the curvature), which scores and selections
                   can share; None: beside `out`

    The others are those of `thresher score`. Raises InputError for what does not go together.
    """
    asked = Asked(
        backend=backend, damping=damping, curvature_damping=curvature_damping, q=q, convention=convention, goal=goal,
        top=top, per_token=per_token, k=k, projection=projection, views=tuple(views), output=output,
        parameters=parameters, sample=sample, steps=steps, window=window, rank=rank, memory_gb=memory_gb,
        batch_tokens=batch_tokens, device=device,
    )  # fmt: skip
    check_scorer(scorer, asked)
    others = named(targets)
    if scorer == AUTO:
        needs_features = k is not None or projection != "auto" or top > 0 or not asked.is_plain
        if per_token and needs_features:
            raise InputError(f"per_token={per_token} is of scores without projection; leave out k, projection and top")
        scorer = "trak" if needs_features else _scorer_for(pool, others, asked, q)
        check_scorer(scorer, asked)
    say_idle([scorer], asked)
    if backend == "traker":
        if evidence is not None:
            log.warning("--evidence has no effect with --backend traker, whose features are its own")
        given, own = _given(models, pool, others), traker_options(k=k, projection=projection, damping=damping, q=q)
        return Scores(score_with_traker(*given, out=Path(out), seed=seed, progress=progress, **own))
    workspace = Workspace(evidence_folder(out, evidence), device, progress)
    if scorer == "trak":
        if goal == "auto" and convention != "thresher":
            goal = "selection"
        making = {"projection": projection, "k": k, "seed": seed, "output": output, "parameters": parameters}
        making |= {"batch_tokens": batch_tokens, "views": tuple(views)}
        stores = _stores(pool, others, models, workspace, making, evidence)
        options = {"damping": damping, "q": q, "convention": convention, "top": top, "goal": goal}
        by_target = {name: stores[name].load() for name in others}
        return Scores(scores_module.score(stores[""].load(), by_target, out=Path(out), **options, progress=progress))
    settings = Attribution(
        k=k, projection=projection, damping=damping, q=q, seed=seed, output=output, parameters=parameters,
        curvature_damping=DAMPING if curvature_damping is None else curvature_damping, goal=goal, sample=sample,
        steps=steps, window=window, memory_gb=memory_gb, batch_tokens=batch_tokens, top=top,
        per_token=per_token, rank=rank, views=tuple(views),
    )  # fmt: skip
    say_unread(scorer, {"models": bool(listed(models)), "evidence": evidence is not None})
    return Scores(_by_scorer(scorer, pool, others, models, Path(out), settings, workspace))


@ruled
def self_influence(
    pool: Source,
    *,
    out: str | Path,
    models: Any = (),
    damping: Damping = None,
    q: str | None = None,
    convention: str = "thresher",
    k: int | None = None,
    projection: str = "auto",
    output: str = "margin",
    parameters: str | None = None,
    batch_tokens: int | None = None,
    evidence: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Scores:
    """What each pool example does to itself: large for what is rare, hard or mislabelled.

    `pool` is features, or prepared examples with `models`. Raises InputError as `score` does.
    """
    making = {"projection": projection, "k": k, "seed": seed, "output": output, "parameters": parameters}
    workspace = Workspace(evidence_folder(out, evidence), device, progress)
    store = _stores(pool, {}, models, workspace, making | {"batch_tokens": batch_tokens}, evidence)[""].load()
    options = {"damping": damping, "q": q, "convention": convention, "progress": progress}
    return Scores(scores_module.self_influence(store, out=Path(out), **options))


def _by_scorer(
    scorer: str,
    pool: Source,
    targets: Mapping[str, Source],
    models: Any,
    out: Path,
    settings: Attribution,
    workspace: Workspace,
) -> Artifact:
    """The scores of any scorer but TRAK, from prepared examples."""
    if Handle.of(pool).artifact.kind == "features":
        raise InputError(f"{scorer} reads examples, and {pool} holds 'features'; give prepared examples and --models")
    examples, others = Examples.of(pool).load(), {name: Examples.of(one).load() for name, one in targets.items()}
    needs = scorer_named(scorer).needs
    loaders = pairs_of(models, examples, *others.values()) if "models" in needs or listed(models) else None
    is_named = not any(isinstance(getattr(one, "source", one), nn.Module) for one in listed(models))
    names = names_of(models) if is_named or "training" in needs else []
    return score_by(scorer, Basis(names, examples, settings, workspace, loaders=loaders), others, out=out)


def _scorer_for(pool: Source, targets: Mapping[str, Source], asked: Asked, q: str | None) -> str:
    """Without a projection where that is cheap: prepared examples, of which nothing else is asked, and few targets.

    By EK-FAC for text under a language model, unless what is asked is of TRAK's kernel (docs/scorers.md, the default).
    """
    if Handle.of(pool).artifact.kind == "features" or (len(targets) > FEW_TARGETS and not asked.per_token):
        return "trak"
    is_of_kernel = asked.damping is not None or q is not None
    is_text = not Examples.of(pool).load().is_classified
    return "ekfac" if is_text and not is_of_kernel else "direction"


def _stores(
    pool: Source,
    targets: Mapping[str, Source],
    models: Any,
    workspace: Workspace,
    making: dict[str, Any],
    evidence: str | Path | None,
) -> dict[str, FeatureStore]:
    """The features of the pool, under "", and of each target: those that are given, or made in the workspace."""
    if Handle.of(pool).artifact.kind == "features":
        given = {"models": ", ".join(map(_called, listed(models))) or None}
        given |= {"evidence": None if evidence is None else str(evidence)}
        check_features_given(pool, making | given)
        return {name: FeatureStore.of(one) for name, one in {"": pool, **targets}.items()}
    check_names(targets or {"pool": pool})
    loaders, examples, others = _given(models, pool, targets)
    where = {"device": workspace.device, "progress": workspace.progress}
    hashes = [content_hash for content_hash, _ in loaders]

    def place_of(name: str, prepared: Any) -> Path:
        return workspace.place(f"features/{name}", hashes, prepared.content_hash, making)

    def made(name: str, prepared: Any) -> FeatureStore:
        place = place_of(name, prepared)
        return FeatureStore(features_module.featurize(loaders, prepared, out=place, **where, **making))

    settings = Attribution(batch_tokens=making["batch_tokens"])
    basis = Basis([], examples, settings, workspace, loaders=loaders)
    say_effort("trak", basis, num_targets=max(1, len(targets)), out=place_of("pool", examples))
    by_target = {name: made(f"target-{name}", prepared) for name, prepared in others.items()}
    return {**by_target, "": made("pool", examples)}


def _called(model: Any) -> str:
    """A model as a message calls it: by its name or its place, one in memory by its class."""
    source = getattr(model, "source", model)
    return type(source).__name__ if isinstance(source, nn.Module) else str(getattr(source, "path", source))


def _given(models: Any, pool: Source, targets: Mapping[str, Source]) -> tuple[Any, Any, dict[str, Any]]:
    """Models, pool and targets of methods that start from prepared examples."""
    examples, others = Examples.of(pool).load(), {name: Examples.of(one).load() for name, one in targets.items()}
    return pairs_of(models, examples, *others.values()), examples, others
