"""A study's numbers, as its report takes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thresher.artifacts import LIBRARIES, Artifact, library_version
from thresher.data.examples import Examples, TokenExamples, WindowExamples
from thresher.data.examples.scored import scored_texts
from thresher.intervals import Interval, MeanInterval
from thresher.scores import open_scores
from thresher.selection.selection import open_selection
from thresher.selection.statistics.comparison import Measurement
from thresher.studies.experiments.clean_gain import clean_gain, leaked_examples
from thresher.studies.experiments.learned import little_learned, on_random_data
from thresher.studies.experiments.transfer import read_rows
from thresher.studies.experiments.validation import read_runs
from thresher.studies.loop import StudyResult, selection_costs
from thresher.studies.preparation import cut_lines
from thresher.studies.report.content import (
    Choice,
    Example,
    Held,
    Leak,
    Model,
    NoisyLabels,
    Point,
    Report,
    Reproduction,
    Results,
    SizeLoss,
    Stage,
    Trust,
    Worth,
    histogram_of,
)
from thresher.studies.report.sentences import remark_lines
from thresher.studies.study import BASELINE, Study
from thresher.studies.study_file import study_text

NUM_SHOWN = 5
"""Examples kept, and as many dropped."""


def make_report(
    study: Study,
    result: StudyResult,
    command: str,
    flips: NoisyLabels | None,
    trust: Mapping[str, Any] | None,
    *,
    root: Path,
) -> Report:
    """The study's numbers, as the report page takes them; `trust` is what `trusted` says of the proxy.

    `root` is the folder of the page: paths in the study that replays it are written as they are reached from there.
    """
    runs = read_runs(result.validation.path)
    arms = result.validation.meta["config"]["arms"]
    as_run = [
        (row["off_target"], Measurement(row["arm"], row["seed"], row["task"], row["loss"]))
        for row in runs
        if row["arm"] in arms
    ]
    several = any(row["arm"] not in arms for row in runs)
    leaks = _leaks(result)
    return Report(
        title=study.name,
        settings=_settings(study, result),
        choice=_choice(study, result),
        results=Results(
            runs=[run for off_target, run in as_run if not off_target],
            off_target=[run for off_target, run in as_run if off_target],
            chosen=study.select.method,
            curve=[_point(row) for row in runs if several and not row["off_target"]],
            worth=_worth(result.validation.facts["multipliers"], study.select.method),
            remarks=[f"{line[0].upper()}{line[1:]}." for line in remark_lines(result.validation.facts)],
        ),
        models=_models(study, result),
        stages=_stages(result),
        noisy_labels=flips,
        trust=_trust(trust, result.trust, study.reference.seeds) if trust and result.trust else None,
        reproduction=Reproduction(
            command=command,
            study=study_text(study, root),
            versions={name: library_version(name) or "missing" for name in LIBRARIES},
        ),
        leaks=leaks,
        clean=_clean(study, result, root)
        if any(leak.num_documents_hit and not leak.left_out for leak in leaks or [])
        else None,
        clean_is_whole=_all_known(result),
        notes=_notes(study, result),
        little_learned=little_learned(on_random_data(runs), result.validation.facts.get("ngrams", {})),
        explorer=True,
    )


def _worth(multipliers: Sequence[Mapping[str, Any]], arm: str) -> list[Worth]:
    """The compute multipliers of `arm`; that of all targets together comes last."""
    return [
        Worth(
            task=row["task"],
            alone=MeanInterval(**row["alone"]) if row.get("alone") else None,
            with_cost=MeanInterval(**row["with_cost"]) if row.get("with_cost") else None,
            beyond=bool(row.get("beyond")),
        )
        for row in multipliers
        if row["arm"] == arm
    ]


def _point(row: Mapping[str, Any]) -> Point:
    return Point(**{key: row[key] for key in ("arm", "seed", "task", "loss", "flops")})


def _settings(study: Study, result: StudyResult) -> dict[str, str]:
    prepared, proxy, reference = result.prepared, study.proxy, study.reference
    pool = prepared.pool.artifact.facts
    size = f"{pool['num_examples']:,} examples" + (f", {pool['num_tokens']:,} tokens" if "num_tokens" in pool else "")
    facts = result.validation.facts
    epochs = f"{facts['epochs']:g}" if facts["epochs"] else "as tokens a parameter say"
    seen = facts["tokens_seen"].values()
    unit = "tokens" if study.task == "language" else "images"
    return {
        "Pool": size,
        "Targets": ", ".join(
            f"{name} ({len(examples):,} examples to select for, {len(prepared.heldout[name]):,} held out)"
            for name, examples in prepared.targets.items()
        ),
        "Proxies": f"{proxy.count} of size {proxy.size}, each on a random {proxy.fraction:.0%} of the pool",
        "Attribution": _attribution(study, result),
        "Selection": f"{study.select.method}, "
        + (
            f"{study.select.tokens:,} tokens"
            if study.select.tokens
            else f"{study.select.fraction:.0%} of the pool's {unit}"
        ),
        "Reference": f"size {reference.size}, {reference.seeds} paired seeds",
        "Proxy to reference": f"1 to {_total(facts) / _total(result.proxies[0].facts):.1f} in parameters",
        "Training": f"every arm on {facts['budget']:,} {unit} an epoch, epochs: {epochs}; {unit} seen: "
        + (f"{min(seen):,}" if min(seen) == max(seen) else f"{min(seen):,} to {max(seen):,}"),
        "Machine": f"{result.proxies[0].facts['device']}, {torch.get_num_threads()} threads",
        "Seed": str(study.seed),
    }


def _attribution(study: Study, result: StudyResult) -> str:
    """The projection as it was made, and how far scores from it are those without one."""
    if result.scorer != "trak":
        return f"scorer {result.scorer}"
    if not result.features:
        return f"TRAK, backend {study.attribution.backend}"
    projection, k = result.features[0].meta["config"]["projection"], result.features[0].facts["k"]
    facts = result.scores.facts
    agreement = facts.get("agreement") or facts.get("agreement_at_most") or {}
    held = ", ".join(f"{name} {value:.2f}" for name, value in agreement.items())
    return f"TRAK, {projection} projection to k = {k:,}" + (
        f"; agreement with scores without projection, {'about' if 'agreement' in facts else 'at most'}: {held}"
        if held
        else ""
    )


def _total(facts: Mapping[str, Any]) -> int:
    return facts["num_parameters"]["total"]


def _choice(study: Study, result: StudyResult) -> Choice:
    artifact = result.selections[study.select.method][0]
    selection, pool = open_selection(artifact.path), result.prepared.pool
    scores = np.empty(len(pool))
    for table in (selection.kept, selection.dropped):
        scores[table["position"].to_numpy()] = table["score"].to_numpy()
    order = np.fromiter(dict.fromkeys(np.concatenate([selection.positions, selection.dropped["position"]])), np.int64)
    there = np.flatnonzero(np.isfinite(scores))  # what an earlier stage left out may have no score
    order = order[np.isin(order, there)]
    shares = artifact.facts["domain_shares"]
    return Choice(
        method=study.select.method,
        num_pool=len(pool),
        num_kept=artifact.facts["num_kept"],
        share=artifact.facts.get("share_of_tokens"),
        seed=study.seed,
        domain_shares=shares if len(shares) > 1 else {},
        top=_examples(result, order[:NUM_SHOWN], scores),
        bottom=_examples(result, order[: -NUM_SHOWN - 1 : -1], scores),
        histogram=histogram_of(scores[there], np.flatnonzero(np.isin(there, selection.positions))),
    )


def _examples(result: StudyResult, rows: np.ndarray, scores: np.ndarray) -> list[Example]:
    pool, by_target = result.prepared.pool, open_scores(result.scores.path).by_target
    return [
        Example(
            id=pool.ids[int(row)],
            text=text,
            score=float(scores[row]),
            domain=str(pool.domains[row]),
            image=pool.picture(int(row)),
            targets={name: float(values[row]) for name, values in by_target.items()},
        )
        for row, text in zip(rows, _texts(pool, rows), strict=True)
    ]


def _texts(pool: Examples, rows: np.ndarray) -> list[str]:
    """The documents as the source has them, whole; what is said of images."""
    if isinstance(pool, WindowExamples) or not isinstance(pool, TokenExamples):
        return [pool.preview(int(row)) for row in rows]
    return ["".join(parts) for parts in scored_texts(pool, rows)]


def _models(study: Study, result: StudyResult) -> list[Model]:
    validation, proxies = result.validation.facts, result.proxies
    return [
        Model(
            name="proxy",
            parameters=proxies[0].facts["num_parameters"]["total"],
            count=len(proxies),
            flops=float(np.mean([proxy.facts["flops"] for proxy in proxies])),
            seconds=float(np.mean([proxy.facts["seconds"] for proxy in proxies])),
        ),
        Model(
            name="reference",
            parameters=validation["num_parameters"]["total"],
            count=validation["num_runs"],
            flops=validation["flops"] / validation["num_runs"],
            seconds=validation["train_seconds"] / validation["num_runs"],
        ),
    ]


def _stages(result: StudyResult) -> list[Stage]:
    """What each stage cost when its artefacts were made, in this run or before."""
    prepared, validation = result.prepared, result.validation.facts
    examples = [prepared.pool, *prepared.targets.values(), *prepared.heldout.values()]
    made = {
        "prepare": [one.artifact for one in [*examples, *([prepared.off_target] if prepared.off_target else [])]],
        "train": result.proxies,
        "featurize": result.features,
        "score": [result.scores],
        "index": [result.index] if result.index else [],
        "select": [selection for selections in result.selections.values() for selection in selections],
        "validate": [result.validation],
    }
    flops = _flops(result)
    stages = []
    for name, artifacts in made.items():
        seconds = sum(artifact.facts["seconds"] for artifact in artifacts)
        if name == "validate":
            seconds += validation["train_seconds"] + validation["evaluate_seconds"]
        cached, selects = not any(artifact.built for artifact in artifacts), name not in ("validate", "index")
        stages.append(
            Stage(name=name, seconds=round(seconds, 3), flops=flops.get(name), cached=cached, selects=selects)
        )
    return [stage for stage in stages if made[stage.name]]


def _flops(result: StudyResult) -> dict[str, float]:
    """Of each stage that counts."""
    k = result.scores.facts["k"] if result.features else None
    others = {"prepare": 0.0, "select": 0.0, "validate": float(result.validation.facts["flops"])}
    return others | selection_costs(result.scorer, result.prepared, result.proxies, k)


def _trust(found: Mapping[str, Any], transfer: Artifact, num_seeds: int) -> Trust:
    (size, proxy), *_ = found["proxies"].items()
    measure = found["verdict"]["measure"]
    measure = measure if measure.endswith("accuracy") else "decision_accuracy"
    rows = [
        Held(
            test_set=name,
            r2=own["r2"]["value"],
            spearman=own["spearman"]["value"],
            accuracy=own[measure]["value"],
            low=own[measure]["low"],
            high=own[measure]["high"],
            regret=Interval(**own["regret@1"]) if "regret@1" in own else None,
            pairs_apart=proxy["signals"].get(name, {}).get("pairs_apart"),
        )
        for name, own in proxy["judged"].items()
    ]
    return Trust(
        size=size,
        reference=found["reference"],
        num_arms=proxy["num_recipes"],
        num_seeds=num_seeds,
        sentence=found["verdict"]["sentence"],
        can_tell=found["verdict"]["can_tell"],
        measure=measure,
        rows=rows,
        losses=[
            SizeLoss(**{key: row[key] for key in ("size", "recipe", "test_set", "loss")}) for row in read_rows(transfer)
        ],
    )


def _notes(study: Study, result: StudyResult) -> list[str]:
    """What a reader should be warned of."""
    skipped = result.prepared.pool.artifact.facts.get("skipped")
    listed = ", ".join(f"{count:,} documents ({why})" for why, count in (skipped or {}).items())
    notes = [f"Left out of the pool or changed: {listed}."] if listed else []
    notes += [f"{name}: {line}." for name, line in cut_lines(result.prepared).items()]
    if study.pool.holdout > 0 and result.prepared.off_target is None:
        notes.append("The pool is too small for a part to measure off the target: give pool.holdout a larger share.")
    return notes


def _leaks(result: StudyResult) -> list[Leak] | None:
    """What every target shares with the pool's source; None where that was not looked for."""
    overlap = result.prepared.overlap
    if overlap is None:
        return None
    return [
        Leak(
            target=name,
            num_examples=found["examples"],
            num_examples_hit=found["examples_hit"],
            num_documents_hit=found["documents_hit"],
            num_words=overlap.meta["config"]["ngram"],
            left_out="overlap" in _pool_inputs(result),
        )
        for name, found in overlap.facts["targets"].items()
    ]


def _clean(study: Study, result: StudyResult, root: Path) -> MeanInterval | None:
    """The gain on held-out examples that are not known to leak."""
    if result.prepared.overlap is None:
        return None
    leaked = leaked_examples(result.prepared.overlap)
    return clean_gain(result.validation, root / "evaluations", leaked, study.select.method, BASELINE)


def _all_known(result: StudyResult) -> bool:
    overlap = result.prepared.overlap
    if overlap is None:
        return True
    leaked = leaked_examples(overlap)
    return all(len(leaked[name]) == found["examples_hit"] for name, found in overlap.facts["targets"].items())


def _pool_inputs(result: StudyResult) -> Mapping[str, str]:
    return result.prepared.pool.artifact.meta["inputs"]
