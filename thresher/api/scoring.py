"""Verbs of attribution: features, scores, an index and a search in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from thresher.api.checkpoint import listed, names_of, pairs_of
from thresher.api.handle import Handle, Source
from thresher.api.handles import Examples, FeatureStore, Index, Neighbours, Scores, named
from thresher.artifacts import Artifact
from thresher.attribution.features import featurize as features_module
from thresher.attribution.scoring import index as index_module
from thresher.attribution.scoring import scores as scores_module
from thresher.attribution.scoring.direction import score_by_direction
from thresher.attribution.scoring.dual import score_dual
from thresher.attribution.scoring.options import Options
from thresher.attribution.scoring.traker_backend import score_with_traker
from thresher.data.examples import TokenExamples
from thresher.errors import InputError, unknown
from thresher.progress import SILENT, Progress
from thresher.rules import ruled
from thresher.scorers import scorer_named
from thresher.scores import check_names
from thresher.studies.scoring.basis import Attribution, Basis
from thresher.studies.scoring.score import score_by
from thresher.workspace import Workspace

METHODS = ("auto", "features", "direction", "dual")
FEW_TARGETS = 4
"""Slopes along so many directions take about two plain passes: docs/log.md, slopes along directions."""
Damping = float | Literal["loo"] | None


@ruled
def featurize(
    models: Any,
    examples: Source,
    *,
    out: str | Path,
    windows: bool = False,
    k: int | None = None,
    projection: str = "auto",
    output: str = "margin",
    parameters: str | None = None,
    precision: str = "float32",
    views: Sequence[str] = (),
    batch_tokens: int | None = None,
    executor: str = "processes",
    seed: int = 0,
    device: str = "auto",
    progress: Progress = SILENT,
) -> FeatureStore:
    """One forward and backward pass over prepared examples: projected gradients, outputs and losses, on disk.

    models      one or several: what `train` gave, names and paths, modules, or `Checkpoint`s
    windows     of documents, every window that a model reads is an example of its own, ID:0, ID:1, ...
    k           numbers that a gradient is projected to; None: 8,192 of text under a language model, else 512
    projection  auto (sjlt for such text, else two-sided), two-sided, two-sided-layers, factor-mask,
                normal, rademacher, sjlt, mask+sjlt or identity
    views       of images: flip and shift, which features are averaged over
    executor    processes, or ray

    Raises InputError for models that cannot read the examples and for options that are unknown.
    """
    prepared = Examples.of(examples).load()
    if windows:
        if not isinstance(prepared, TokenExamples) or not prepared.layout.packed:
            raise InputError(f"{prepared.artifact.path} holds no documents to take the windows of; leave out --windows")
        prepared = prepared.by_window()
    artifact = features_module.featurize(
        pairs_of(models, prepared),
        prepared,
        out=Path(out),
        projection=projection,
        k=k,
        seed=seed,
        output=output,
        parameters=parameters,
        precision=precision,
        views=tuple(views),
        device=device,
        batch_tokens=batch_tokens,
        executor=executor,
        progress=progress,
    )
    return FeatureStore(artifact)


@ruled
def score(
    pool: Source,
    targets: Mapping[str, Source] | Source,
    *,
    out: str | Path,
    models: Any = (),
    scorer: str = "trak",
    method: str = "auto",
    backend: str = "thresher",
    damping: Damping = None,
    q: str | None = None,
    convention: str = "thresher",
    goal: str = "auto",
    top: int = 0,
    k: int | None = None,
    projection: str = "auto",
    output: str = "margin",
    parameters: str | None = None,
    sample: int = 2000,
    steps: int = 20,
    window: int | None = None,
    memory_gb: float = 4.0,
    batch_tokens: int | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Scores:
    """What each pool example does to the targets: one column a target, higher is more helpful.

    pool, targets  features (from `featurize`), or prepared examples with `models`, whose features are then made beside
                   `out`; targets by name, or one by itself
    scorer         a name of `thresher.scorers`: trak, or of prepared examples ekfac, ekfac-cg, metagradient, ...
    method         of trak: auto (direction for prepared examples and at most 4 targets, else features); features; dual
                   (exact, no projection, for up to some ten thousand examples); direction (nothing stored)
    goal           labels, selection or auto (labels where all are labelled with classes)
    top            also keep so many most helpful and most harmful examples of every single target example
    steps          of conjugate gradients, in ekfac-cg
    window         last steps of training that metagradient and adamw-influence ask about; None: all

    The others are those of `thresher score`. Raises InputError for what does not go together.
    """
    check_methods(method, backend, damping=damping, convention=convention, top=top, scorer=scorer)
    others = named(targets)
    if scorer != "trak":
        settings = Attribution(
            k=k, projection=projection, damping=damping, q=q, seed=seed, output=output, parameters=parameters,
            goal="selection" if goal == "auto" else goal, sample=sample, steps=steps, window=window,
            memory_gb=memory_gb, batch_tokens=batch_tokens,
        )  # fmt: skip
        return Scores(_by_scorer(scorer, pool, others, models, Path(out), settings, device, progress))
    if method == "auto":
        asked = k is not None or projection != "auto" or top > 0
        needs_features = asked or backend == "traker" or damping == "loo" or convention != "thresher"
        method = "features" if needs_features else _method_for(pool, others)
    if goal == "auto" and convention != "thresher" and method == "features" and backend == "thresher":
        goal = "selection"
    reading = {"output": output, "parameters": parameters, "batch_tokens": batch_tokens, "device": device}
    if backend == "traker":
        given = _given(models, pool, others)
        return Scores(score_with_traker(*given, out=Path(out), k=k, seed=seed, progress=progress))
    if method == "features":
        making = {"projection": projection, "k": k, "seed": seed, **reading}
        stores = _stores(pool, others, models, Path(out), making, progress)
        options = {"damping": damping, "q": q, "convention": convention, "top": top, "goal": goal}
        by_target = {name: stores[name].load() for name in others}
        return Scores(scores_module.score(stores[""].load(), by_target, out=Path(out), **options, progress=progress))
    assert damping != "loo"
    options = Options(damping=damping, q=q, goal=goal, memory_gb=memory_gb, **reading)
    given, shared = _given(models, pool, others), {"out": Path(out), "options": options, "progress": progress}
    if method == "dual":
        return Scores(score_dual(*given, top=top, **shared))
    return Scores(score_by_direction(*given, sample=sample, seed=seed, **shared))


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
    seed: int = 0,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Scores:
    """What each pool example does to itself: large for what is rare, hard or mislabelled.

    `pool` is features, or prepared examples with `models`. Raises InputError as `score` does.
    """
    making = {"projection": projection, "k": k, "seed": seed, "output": output, "parameters": parameters}
    making |= {"batch_tokens": batch_tokens, "device": device}
    store = _stores(pool, {}, models, Path(out), making, progress)[""].load()
    options = {"damping": damping, "q": q, "convention": convention, "progress": progress}
    return Scores(scores_module.self_influence(store, out=Path(out), **options))


@ruled
def build_index(
    features: Source,
    *,
    out: str | Path,
    damping: Damping = None,
    q: str | None = None,
    convention: str = "thresher",
    kind: str = "auto",
    progress: Progress = SILENT,
) -> Index:
    """A FAISS index over a pool's features, whose inner products are TRAK scores; its recall is measured.

    `kind` is flat (exact), ivf, or auto: flat up to 100,000 examples. Raises InputError where FAISS is not installed.
    """
    options = {"damping": damping, "q": q, "convention": convention, "kind": kind, "progress": progress}
    return Index(index_module.build_index(FeatureStore.of(features).load(), out=Path(out), **options))


@ruled
def search(index: Source, target: Source, example: int | str, *, k: int = 10, pool: Source | None = None) -> Neighbours:
    """The `k` training examples most helpful and most harmful to one target example, given by position or id.

    `target` is its features, by the same models, projection and seed as the pool's; with `pool`, the prepared pool that
    was indexed, each hit has a `preview`. Raises InputError for an example that is not there and another pool.
    """
    store = FeatureStore.of(target).load()
    found = index_module.search(Index.of(index).artifact, store, example, k=k)
    sides = [[{"id": id, "score": float(score)} for id, score in side] for side in found]
    if pool is not None:
        examples = Examples.of(pool).load()
        row_of = {id: row for row, id in enumerate(examples.ids)}
        for hit in (*sides[0], *sides[1]):
            if hit["id"] not in row_of:
                path = examples.artifact.path
                raise InputError(f"{path} has no example {hit['id']!r}; give the pool that was indexed")
            hit["preview"] = examples.preview(row_of[str(hit["id"])])
    return Neighbours(*sides)


def check_methods(
    method: str,
    backend: str,
    *,
    damping: Damping,
    convention: str,
    top: int,
    self_influence: bool = False,
    scorer: str = "trak",
) -> None:
    """Refuse ways to score that are unknown or do not go together."""
    scorer_named(scorer)
    if backend not in ("thresher", "traker"):
        raise InputError(f"backend {backend!r} is unknown; pass thresher or traker")
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    direct = method in ("direction", "dual")
    unfit = {
        "--backend traker": (direct or self_influence) and backend == "traker",
        "--self-influence": direct and self_influence,
        "--damping loo": direct and damping == "loo",
        f"--convention {convention}": direct and convention != "thresher",
        "--top": (method == "direction" or self_influence) and top != 0,
    }
    if scorer != "trak":
        unfit = {
            f"--method {method}": method != "auto",
            f"--backend {backend}": backend != "thresher",
            f"--convention {convention}": convention != "thresher",
            "--damping loo": damping == "loo",
            "--self-influence": self_influence,
            "--top": top != 0,
        }
    for option, is_unfit in unfit.items():
        if is_unfit:
            what = "--self-influence" if self_influence and not direct else f"--method {method}"
            what = what if scorer == "trak" else f"--scorer {scorer}"
            raise InputError(f"{option} does not go with {what}; leave one of them out")


def _by_scorer(
    scorer: str,
    pool: Source,
    targets: Mapping[str, Source],
    models: Any,
    out: Path,
    settings: Attribution,
    device: str,
    progress: Progress,
) -> Artifact:
    """The scores of any scorer but TRAK, from prepared examples."""
    kind = Handle.of(pool).artifact.kind
    if kind == "features":
        raise InputError(f"{scorer} reads examples, and {pool} holds features; give prepared examples and --models")
    examples, others = Examples.of(pool).load(), {name: Examples.of(one).load() for name, one in targets.items()}
    needs = scorer_named(scorer).needs
    loaders = pairs_of(models, examples, *others.values()) if "models" in needs or listed(models) else None
    names = names_of(models) if "training" in needs else []
    workspace = Workspace(out.with_name(f"{out.name}-work"), device, progress)
    return score_by(scorer, Basis(names, examples, settings, workspace, loaders=loaders), others, out=out)


def _method_for(pool: Source, targets: Mapping[str, Source]) -> str:
    """Without a projection where that is cheap: prepared examples, of which nothing else is asked, and few targets."""
    is_made = Handle.of(pool).artifact.kind == "features"
    return "features" if is_made or len(targets) > FEW_TARGETS else "direction"


def _stores(
    pool: Source, targets: Mapping[str, Source], models: Any, out: Path, making: dict[str, Any], progress: Progress
) -> dict[str, FeatureStore]:
    """The features of the pool, under "", and of each target: those that are given, or made beside `out`."""
    if Handle.of(pool).artifact.kind == "features":
        return {name: FeatureStore.of(one) for name, one in {"": pool, **targets}.items()}
    check_names(targets or {"pool": pool})
    loaders, examples, others = _given(models, pool, targets)

    def made(name: str, prepared: Any) -> FeatureStore:
        place = out.with_name(f"{out.name}-features") / name
        return FeatureStore(features_module.featurize(loaders, prepared, out=place, progress=progress, **making))

    by_target = {name: made(f"target-{name}", prepared) for name, prepared in others.items()}
    return {**by_target, "": made("pool", examples)}


def _given(models: Any, pool: Source, targets: Mapping[str, Source]) -> tuple[Any, Any, dict[str, Any]]:
    """Models, pool and targets of methods that start from prepared examples."""
    examples, others = Examples.of(pool).load(), {name: Examples.of(one).load() for name, one in targets.items()}
    return pairs_of(models, examples, *others.values()), examples, others
