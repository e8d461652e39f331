"""Verbs that decide what to train on: a selection of examples, a mixture of domains."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thresher.api.checkpoint import names_of
from thresher.api.handle import Source
from thresher.api.handles import Examples, FeatureStore, Scores, Selection
from thresher.errors import InputError
from thresher.progress import SILENT, Progress
from thresher.rules import ruled
from thresher.selection.choosing import check_needs
from thresher.selection.methods import check_embeddings_for, stages_of
from thresher.selection.mixture.constraints import make_constraints
from thresher.selection.mixture.goal import make_goal
from thresher.selection.mixture.table import MixtureTable
from thresher.selection.mixture.table_file import Columns, read_table
from thresher.studies.mixtures.proposal import natural_of, propose_from
from thresher.studies.selections.effort import say_selection
from thresher.studies.selections.evidence import evidence_of
from thresher.studies.selections.select import check_unit, select_from
from thresher.studies.selections.sources import Sources
from thresher.workspace import Workspace, evidence_folder


@ruled
def select(
    scores: Source | None = None,
    *,
    out: str | Path,
    method: str = "dsdm",
    fraction: float | None = None,
    count: int | None = None,
    tokens: int | None = None,
    targets: Mapping[str, Source | None] | Sequence[str] = (),
    weights: Mapping[str, float] | None = None,
    pool: Source | None = None,
    models: Any = (),
    features: Source | None = None,
    target_features: Mapping[str, Source] | None = None,
    embeddings: str | None = None,
    evidence: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Selection:
    """Keep the pool's most useful examples for the targets, by any of many methods or a line of them.

    method     such as "dsdm", "random" or "minhash | dsdm:0.2,per_domain=0.3": docs/selectors.md has all of them
    fraction, count, tokens  how much to keep: a share of the pool's tokens (images), examples, or tokens
    targets    names among the scores, or name -> prepared examples for methods that look at them; none: all
    weights    one for each target; None: equal
    pool, models, features, target_features  what methods may need beside scores, or in place of them
    embeddings of texts, in place of those of the models: "column:NAME", lists of numbers in the source's rows, or
               "sentence-transformers:MODEL", a path or a name on the hub
    evidence   a folder for what had to be computed, which selections can share; None: beside `out`

    Raises InputError for a method that is unknown, evidence that is missing, and a budget that cannot be met.
    """
    sources = sources_of(
        scores,
        method=method,
        targets=targets,
        weights=weights,
        pool=pool,
        models=models,
        features=features,
        target_features=target_features,
        embeddings=embeddings,
        workspace=Workspace(evidence_folder(out, evidence), device, progress),
        seed=seed,
    )
    budget = {"fraction": fraction, "count": count, "tokens": tokens}
    known = evidence_of(sources, seed)
    check_unit(method, sources, tokens)
    check_needs(method, known, **budget)
    say_selection(sources, method, Path(out))
    return Selection(select_from(sources, method, out=Path(out), seed=seed, evidence=known, **budget))


def sources_of(
    scores: Source | None,
    *,
    method: str,
    targets: Mapping[str, Source | None] | Sequence[str],
    weights: Mapping[str, float] | None,
    pool: Source | None,
    models: Any,
    features: Source | None,
    target_features: Mapping[str, Source] | None,
    embeddings: str | None,
    workspace: Workspace,
    seed: int,
) -> Sources:
    """What a selection may be made from, opened; the arguments are those of `select`."""
    stages_of(method)  # before anything is opened
    if embeddings is not None:
        check_embeddings_for([method], embeddings)
    named: dict[str, Source | None] = dict(targets) if isinstance(targets, Mapping) else dict.fromkeys(targets)
    if weights is not None and set(weights) != set(named):
        raise InputError(f"{len(weights)} weights for {len(named)} targets; give one for each, or none")
    return Sources(
        workspace=workspace,
        pool=None if pool is None else Examples.of(pool).load(),
        targets={name: Examples.of(source).load() for name, source in named.items() if source is not None},
        models=names_of(models),
        scores=None if scores is None else Scores.of(scores).artifact,
        features=None if features is None else FeatureStore.of(features).load(),
        target_features={name: FeatureStore.of(source).load() for name, source in (target_features or {}).items()},
        only=tuple(named),
        weights=weights,
        embeddings=embeddings,
        seed=seed,
    )


@ruled
def propose_mixture(
    table: MixtureTable | str | Path | Sequence[str | Path],
    *,
    columns: Columns | None = None,
    method: str = "ensemble",
    target_weights: Mapping[str, float] | None = None,
    worst_case: bool = False,
    tokens: Mapping[str, float] | None = None,
    budget: float | None = None,
    fitted_budget: float | None = None,
    max_repeats: float | Mapping[str, float] = 1.0,
    floors: Mapping[str, float] | None = None,
    ceilings: Mapping[str, float] | None = None,
    prior: Mapping[str, float] | None = None,
    kl_weight: float = 0.0,
    max_kl: float | None = None,
    num_next: int = 0,
    num_resamples: int = 200,
    seed: int = 0,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Fit a law to runs on mixtures and propose the mixture that makes the targets' losses small, with intervals.

    table           a CSV file with the columns weight_* and loss_* (others by `columns`), or a MixtureTable
    method          ensemble, diminishing, exponential, effective, gaussian-process, regmix, linear, log-linear, ...
    target_weights  of each target that counts; None: all, equally
    tokens, budget, max_repeats  tokens of each domain, and to train on: a domain is repeated at most so often
    fitted_budget   autoscale alone: tokens of the DDO's base run, from which it extrapolates to `budget`
    floors, ceilings, prior, kl_weight, max_kl  what the mixture must respect: see `thresher mix table`
    num_next        name so many mixtures to run next, where they inform most

    What is said of domains that no run used is left out, as `repairs` then says. Returns `weights`, `weight_intervals`,
    `predicted_losses`, `gains`, `warnings` and more. Raises InputError for a
    table that cannot be used and constraints that no mixture meets.
    """
    if isinstance(table, str | Path):
        table = [table]
    if not isinstance(table, MixtureTable):
        table = read_table([Path(path) for path in table], columns or Columns())
    if budget is not None and tokens is None and method != "autoscale":
        raise InputError("budget caps nothing without tokens, the supply of every domain; give both")
    if max_repeats not in (1.0, {}) and (budget is None or tokens is None):
        raise InputError("max_repeats changes nothing without tokens and budget, from which it caps; give them")
    given = {"tokens": tokens, "max_repeats": max_repeats, "floors": floors, "ceilings": ceilings, "prior": prior}
    table, given = table.without_dropped(**given)
    tokens = given["tokens"]
    constraints = make_constraints(
        table.domains,
        budget=budget if tokens is not None else None,
        **given,
        kl_weight=kl_weight,
        max_kl=max_kl,
    )
    return propose_from(
        table,
        make_goal(table.targets, target_weights, worst_case=worst_case),
        constraints,
        method=method,
        budget=budget,
        fitted_budget=fitted_budget,
        num_resamples=num_resamples,
        seed=seed,
        natural=natural_of(table.domains, tokens),
        num_next=num_next,
        progress=progress,
    )
