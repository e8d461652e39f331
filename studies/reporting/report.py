"""A study's numbers, as its report takes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thresher.artifacts import LIBRARIES, Artifact, library_version
from thresher.intervals import Interval, MeanInterval
from thresher.selection.statistics.comparison import Measurement
from thresher.studies.experiments.learned import little_learned, on_random_data
from thresher.studies.experiments.transfer import read_rows
from thresher.studies.experiments.validation import read_runs
from thresher.studies.loop import StudyResult
from thresher.studies.preparation import cut_lines
from thresher.studies.report.content import (
    Held,
    NoisyLabels,
    Point,
    Report,
    Reproduction,
    Results,
    SizeLoss,
    Trust,
    Worth,
)
from thresher.studies.report.sentences import remark_lines
from thresher.studies.reporting.examples import choice_of
from thresher.studies.reporting.leaks import clean_of, leaks_of
from thresher.studies.reporting.run import models_of, settings_of, stages_of
from thresher.studies.study import Study
from thresher.studies.study_file import study_text


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
    clean, clean_is_whole = clean_of(study, result, root)
    return Report(
        title=study.name,
        settings=settings_of(study, result),
        choice=choice_of(study, result),
        results=Results(
            runs=[run for off_target, run in as_run if not off_target],
            off_target=[run for off_target, run in as_run if off_target],
            chosen=study.select.method,
            curve=[_point(row) for row in runs if several and not row["off_target"]],
            worth=_worth(result.validation.facts["multipliers"], study.select.method),
            remarks=[f"{line[0].upper()}{line[1:]}." for line in remark_lines(result.validation.facts)],
        ),
        models=models_of(result, runs),
        stages=stages_of(study, result),
        noisy_labels=flips,
        trust=_trust(trust, result.trust, study.reference.seeds) if trust and result.trust else None,
        reproduction=Reproduction(
            command=command,
            study=study_text(study, root),
            versions={name: library_version(name) or "missing" for name in LIBRARIES},
        ),
        leaks=leaks_of(result),
        clean=clean,
        clean_is_whole=clean_is_whole,
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
        if measure in own
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
