"""The end of a study: its files, its report, and its result as JSON."""

import shlex
from typing import Any

from thresher.artifacts import Artifact
from thresher.attribution.features.store import open_features
from thresher.places import MARK, own_file, published, write_json
from thresher.selection.selection import open_selection
from thresher.studies.experiments.trust import trusted
from thresher.studies.explorer.explore import write_explorer
from thresher.studies.explorer.subject import Subject
from thresher.studies.loop import StudyResult
from thresher.studies.preparation import cut_lines
from thresher.studies.report.content import NoisyLabels
from thresher.studies.report.render import write_report
from thresher.studies.reporting.report import make_report
from thresher.studies.study import Study
from thresher.studies.study_file import study_text
from thresher.workspace import Workspace


def finish(
    study: Study, result: StudyResult, workspace: Workspace, *, command: str, flips: NoisyLabels | None = None
) -> dict[str, Any]:
    """Write `report.html` (with `report.json`, which replays it), `explorer.html`, `study.toml` and `result.json`.

    Gives the result, with the paths of both pages.
    """
    with own_file(workspace.root / "study.toml") as file:
        file.write_text(
            f"# {MARK}: replays the study from here.\n" + study_text(study, workspace.root), encoding="utf-8"
        )
    page, explorer = workspace.root / "report.html", workspace.root / "explorer.html"
    write_explorer(_subject(study, result, workspace), explorer)
    trust = trusted(result.trust, study.validate.average) if result.trust else None
    report = make_report(study, result, command, flips, trust, root=workspace.root)
    write_report(report, page)
    facts = result.validation.facts
    summary = {
        "arms": facts["arms"],
        "accuracy": facts["accuracy"],
        "bits_per_byte": facts.get("bits_per_byte", {}),
        "paired": facts["paired"],
        "paired_accuracy": facts["paired_accuracy"],
        "standings": facts["standings"],
        "multipliers": facts["multipliers"],
        "seconds": {stage.name: stage.seconds for stage in report.stages},
        "wall_seconds": result.wall_seconds,
        "num_parameters": {
            "proxy": result.proxies[0].facts["num_parameters"],
            "reference": facts["num_parameters"],
        },
        **{name: facts[name] for name in ("unit", "budget", "held", "tokens_seen")},
        "num_selected": result.selections[study.select.method][0].facts["num_kept"],
        "num_pool": len(result.prepared.pool),
        **(
            {"flipped_labels": {"auc": flips.auc, "low": flips.low, "high": flips.high, "num_flipped": flips.num_noisy}}
            if flips
            else {}
        ),
        **({"trust": trust} if trust else {}),
        "cut": cut_lines(result.prepared),
        "artifacts": {name: published(artifact.path, workspace.root) for name, artifact in _artifacts(result).items()},
    }
    write_json(summary | {"report": page.name, "explorer": explorer.name}, workspace.root / "result.json")
    return {"report": str(page.resolve()), "explorer": str(explorer.resolve()), **summary}


def _subject(study: Study, result: StudyResult, workspace: Workspace) -> Subject:
    """What the explorer of a study shows: its scores for its targets, what its own method kept, its proxies."""
    targets, scores = result.prepared.targets, published(result.scores.path, workspace.root)
    stores = dict(zip(["", *targets], [open_features(store.path) for store in result.features], strict=False))
    targets_hash = {name: examples.content_hash for name, examples in targets.items()}
    named = {name: published(examples.artifact.path, workspace.root) for name, examples in targets.items()}
    pool = published(result.prepared.pool.artifact.path, workspace.root)
    selection = result.selections[study.select.method][0]
    serve = ["thresher", "explore", scores, "--pool", pool, "--targets", *(f"{n}={path}" for n, path in named.items())]
    serve += ["--selection", published(selection.path, workspace.root)]
    if stores:
        places = {name: published(store.artifact.path, workspace.root) for name, store in stores.items()}
        serve += ["--features", places.pop(""), "--target-features", *(f"{n}={path}" for n, path in places.items())]
    serve += ["--models", *(published(proxy.path, workspace.root) for proxy in result.proxies)]
    return Subject(
        scores=result.scores,
        pool=result.prepared.pool,
        targets=targets,
        selection=open_selection(selection.path),
        features=stores.pop("", None),
        target_features=stores,
        models=[str(proxy.path) for proxy in result.proxies],
        keep=workspace.place("pairs", result.scores.content_hash, targets_hash, list(targets)),
        title=study.name,
        commands={
            "select": shlex.join(["thresher", "select", "--scores", scores, "--out", "subset"]),
            "serve": shlex.join([*serve, "--serve"]),
        },
        device=workspace.device,
        progress=workspace.progress,
    )


def _artifacts(result: StudyResult) -> dict[str, Artifact]:
    named = {
        "pool": result.prepared.pool.artifact,
        **{f"proxy {m}": proxy for m, proxy in enumerate(result.proxies)},
        "features": result.features[0] if result.features else None,
        "scores": result.scores,
        "index": result.index,
        **{
            f"selection {method}" if len(selections) == 1 else f"selection {method} {repeat}": selection
            for method, selections in result.selections.items()
            for repeat, selection in enumerate(selections)
        },
        "validation": result.validation,
        "trust": result.trust,
    }
    return {name: artifact for name, artifact in named.items() if artifact is not None}
