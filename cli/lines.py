"""What results are in a terminal: a line for each thing found."""

from collections.abc import Mapping
from typing import Any

from thresher.studies.report.sentences import validation_lines


def trust_lines(result: Mapping[str, Any]) -> list[str]:
    """A line a proxy and measure, over the mean of all test sets."""
    from thresher.selection.statistics.decisions import MEAN

    shown = []
    for name, proxy in result["proxies"].items():
        measures = proxy["judged"].get(MEAN) or next(iter(proxy["judged"].values()))
        shown.append(f"{name} against {result['reference']}: {proxy['num_recipes']} recipes, {proxy['num_sets']} sets")
        shown += [f"  {m:<20}{e['value']:.4f} [{e['low']:.4f}, {e['high']:.4f}]" for m, e in measures.items()]
    return [*shown, f"95 % intervals from {result['num_resamples']} resamples of the recipes, seed {result['seed']}"]


def transfer_lines(result: Mapping[str, Any]) -> list[str]:
    """What a finished transfer study says of every proxy."""
    shown = trust_lines(result)
    for size, by_set in result["per_sample"].items():
        medians = ", ".join(f"{name} {own['median']:.2f}" for name, own in by_set.items())
        shown.append(f"median R^2 of single examples at {size}: {medians}")
    total = sum([result["flops"][size] for size in result["proxies"]]) / result["flops"][result["reference"]]
    shown.append(f"a run of every proxy size together costs {total:.2g} of one of the reference's")
    if "spearman" in result["accuracy"]:
        value, low, high = result["accuracy"]["spearman"]
        shown.append(
            f"R^2 against accuracy less chance, over {len(result['accuracy']['points'])} sizes and test sets: Spearman "
            f"{value:.3f} [{low:.3f}, {high:.3f}]"
        )
    return [*shown, result["verdict"]["sentence"]]


def study_lines(result: Mapping[str, Any]) -> str:
    """What a person reads when a study has ended."""
    lines = validation_lines(result)
    if "flipped_labels" in result:
        found = result["flipped_labels"]
        interval = f"{found['auc']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
        lines.append(f"flipped labels found: area under the curve {interval}")
    if "trust" in result:
        lines.append(f"can the proxy be trusted? {result['trust']['verdict']['sentence']}")
    lines += [f"{name}: {line}" for name, line in result["cut"].items()]
    seconds = ", ".join(f"{stage} {value:.1f}" for stage, value in result["seconds"].items())
    lines.append(f"seconds: {seconds}; this run {result['wall_seconds']:.1f}")
    return "\n".join([*lines, f"report: {result['report']}"])
