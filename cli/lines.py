"""What results are in a terminal: a line for each thing found."""

from collections.abc import Mapping
from statistics import median
from typing import Any

from thresher.shown import with_interval
from thresher.studies.report.sentences import validation_lines


def trust_lines(result: Mapping[str, Any]) -> list[str]:
    """A line a proxy and measure, over the mean of all test sets."""
    from thresher.selection.statistics.decisions import MEAN

    shown = []
    for name, proxy in result["proxies"].items():
        measures = proxy["judged"].get(MEAN) or next(iter(proxy["judged"].values()))
        shown.append(f"{name} against {result['reference']}: {proxy['num_recipes']} recipes, {proxy['num_sets']} sets")
        shown += [f"  {m:<20}{e['value']:.4f} [{e['low']:.4f}, {e['high']:.4f}]" for m, e in measures.items()]
        shown += _beside(proxy)
        if "at_last_step" in proxy:
            alone = ", ".join(f"{m} {e['value']:.4f}" for m, e in proxy["at_last_step"].items())
            shown.append(f"  at the last step alone: {alone}")
    shown.append(f"95 % intervals from {result['num_resamples']} resamples of the recipes, seed {result['seed']}")
    return [*shown, *_signal_lines(result)]


def _beside(proxy: Mapping[str, Any]) -> list[str]:
    """What of the table was not compared: recipes and test sets that a side lacks, and what came after the step."""
    shown = []
    for key, what in (("left_out", "recipes"), ("left_out_sets", "test sets")):
        if names := proxy[key]:
            listed = ", ".join(names[:5]) + (", .." if len(names) > 5 else "")
            shown.append(f"  left out, for a side lacks what others have: {len(names)} {what} ({listed})")
    for side, step in proxy["steps"].items():
        if step < proxy["last_steps"][side]:
            shown.append(f"  the {side} is judged at step {step:g} of {proxy['last_steps'][side]:g}")
    return shown


def _signal_lines(result: Mapping[str, Any]) -> list[str]:
    """Of each proxy and test set, signal over noise on both sides, and what noise leaves of decision accuracy."""
    shown = []
    for name, proxy in result["proxies"].items():
        pairs = proxy["num_recipes"] * (proxy["num_recipes"] - 1) // 2
        known = {test: own for test, own in proxy["signals"].items() if own["proxy"] or own["reference"]}
        if known:
            shown.append(f"what noise leaves to decide on, {name} (signal / noise there, at the reference; ceiling):")
        for test, own in known.items():
            ratios = ", ".join(_ratio(own[side]) for side in ("proxy", "reference"))
            weight = "" if own["weight"] == 1 else f"  weight {own['weight']:.2f}" if own["weight"] else "  not counted"
            apart = "" if own["pairs_apart"] is None else f"; {own['pairs_apart']} of {pairs} pairs told apart"
            shown.append(f"  {test:<24} {ratios}; {own['ceiling']:.3f}{apart}{weight}")
        both = [noise for own in known.values() if own["proxy"] and len(noise := own["proxy"]["noise_from"]) > 1]
        if both:
            seeds, steps = (median(noise[source] for noise in both) for source in ("seeds", "checkpoints"))
            shown.append(f"  noise of a run over its loss, median: {seeds:.2g} from seeds, {steps:.2g} from last steps")
    return shown


def _ratio(signal: Mapping[str, Any] | None) -> str:
    if signal is None:
        return "?"
    return "no noise" if signal["ratio"] is None else f"{signal['ratio']:.3g}"


def transfer_lines(result: Mapping[str, Any]) -> list[str]:
    """What a finished transfer study says of every proxy."""
    shown = trust_lines(result)
    for size, by_set in result["per_sample"].items():
        medians = ", ".join(f"{name} {own['median']:.2f}" for name, own in by_set.items())
        shown.append(f"median R^2 of single examples at {size}: {medians}")
    total = sum([result["flops"][size] for size in result["proxies"]]) / result["flops"][result["reference"]]
    shown.append(f"a run of every proxy size together costs {total:.2g} of one of the reference's")
    if "spearman" in result["accuracy"]:
        shown.append(
            f"R^2 against accuracy less chance, over {len(result['accuracy']['points'])} sizes and test sets: Spearman "
            f"{with_interval(*result['accuracy']['spearman'])}"
        )
    if result["learned_little"]:
        shown.append(result["learned_little"])
    return [*shown, result["verdict"]["sentence"]]


def rate_lines(result: Mapping[str, Any]) -> list[str]:
    """What a study of learning rates says: a row a rate, two of them set by set, what to train at."""
    from thresher.selection.statistics.decisions import MEAN
    from thresher.studies.experiments.rates import ALL, DECIDING, recommendation, row_of

    shown = [
        "Spearman with the reference, every recipe at its best rate (95 % intervals)",
        f"{'multiple':<10}{'rate':<12}{'drop':<8}{'tau':<6}{'spread':<8}{'mean loss':<23}{'mean over sets':<23}"
        "those that can decide",
    ]
    for row in result["rates"]:
        tau = "-" if row["tau_below"] is None else f"{row['tau_below']:.2f}"
        noise = "-" if row["spread_over_noise"] is None else f"{row['spread_over_noise']:.1f}"
        marks = [word for word, yes in (("plateau", row["on_plateau"]), ("untrained", not row["trained"])) if yes]
        marks += [word for word in ("recommended", "standard") if row["learning_rate"] == result[word]]
        means = "".join(f"{_spearman(row, name):<23}" for name in (ALL, MEAN, DECIDING))
        shown.append(
            f"{row['multiple']:<10.3g}{row['learning_rate']:<12.6g}{row['drop']:<8.1%}{tau:<6}{noise:<8}{means}"
            f"{' '.join(marks)}"
        )
    named = [word for word in ("recommended", "standard") if result[word] is not None]
    shown.append("set by set: " + ", ".join(f"{word} ({result[word]:.6g})" for word in named))
    for test in result["sets"]:
        values = "".join(f"{_spearman(row_of(result, result[word]), test):<23}" for word in named)
        left_out = "" if test in result["deciding"] else "  cannot decide"
        shown.append(f"  {test:<24}{values}{left_out}")
    shown.append(f"largest eigenvalue of the Hessian: {result['largest_eigenvalue']:.3g}")
    return [*shown, *recommendation(result)]


def _spearman(row: Any, name: str) -> str:
    if name not in row["judged"]:
        return "-"
    return with_interval(**row["judged"][name]["spearman"])


def study_lines(result: Mapping[str, Any]) -> str:
    """What a person reads when a study has ended."""
    lines = validation_lines(result)
    if "flipped_labels" in result:
        found = result["flipped_labels"]
        interval = with_interval(found["auc"], found["low"], found["high"])
        lines.append(f"flipped labels found: area under the curve {interval}")
    if "trust" in result:
        lines.append(f"can the proxy be trusted? {result['trust']['verdict']['sentence']}")
    lines += [f"{name}: {line}" for name, line in result["cut"].items()]
    seconds = ", ".join(f"{stage} {value:.1f}" for stage, value in result["seconds"].items())
    lines.append(f"seconds: {seconds}; this run {result['wall_seconds']:.1f}")
    return "\n".join([*lines, f"explorer: {result['explorer']}", f"report: {result['report']}"])


def proposal_lines(result: Mapping[str, Any]) -> list[str]:
    """A proposed mixture, what it promises and what to beware of."""
    intervals = result.get("weight_intervals") or {}
    natural = (result.get("baselines") or {}).get("natural", {})
    wide = max(map(len, result["weights"]))
    lines = [
        f"{'domain':<{wide}}  weight" + ("  [95 %]         " if intervals else "") + ("  natural" if natural else "")
    ]
    for domain, weight in sorted(result["weights"].items(), key=lambda item: -item[1]):
        span = "  [{:.3f}, {:.3f}]".format(*intervals[domain]) if intervals else ""
        base = f"  {natural[domain]:.3f}" if natural else ""
        lines.append(f"{domain:<{wide}}  {weight:.3f} {span}{base}")
    for target, loss in (result.get("predicted_losses") or {}).items():
        span = (result.get("loss_intervals") or {}).get(target)
        lines.append(f"predicted {target}: {loss:.4f}" + (" [{:.4f}, {:.4f}]".format(*span) if span else ""))
    for name, gain in (result.get("gains") or {}).items():
        lines.append(f"predicted gain over {name}: {gain['mean']:.4f} [{gain['low']:.4f}, {gain['high']:.4f}]")
    for part in ("held_out", "test"):
        for target, row in (result.get(part) or {}).items():
            errors = ", ".join(f"{name} {value:.4f}" for name, value in row.items() if name != "num_runs")
            lines.append(f"{part.replace('_', '-')} {target}: {errors}")
    for row in result.get("next_runs") or []:
        lines.append("run next: " + ", ".join(f"{d} {share:.3f}" for d, share in row.items() if share >= 0.0005))
    lines += [f"warning: {warning}" for warning in result.get("warnings", [])]
    lines += [f"repaired: {repair}" for repair in result.get("repairs", [])]
    return [*lines, f"report: {result['report']}"] if "report" in result else lines


def plan_lines(result: Mapping[str, Any]) -> list[str]:
    """The mixtures of a plan, a row each."""
    wide = {domain: max(len(domain), 5) for domain in result["runs"][0]}
    lines = ["  ".join(["data ", *(f"{domain:>{width}}" for domain, width in wide.items())])]
    for row, size in zip(result["runs"], result["data_relative_to_base"], strict=True):
        cells = (f"{row[domain]:>{width}.3f}" for domain, width in wide.items())
        lines.append("  ".join([f"{size:.3f}", *cells]))
    return lines


def mixture_validation_lines(result: Mapping[str, Any]) -> list[str]:
    """What the validation of mixtures says of every proposal beside every baseline."""
    lines = ["held-out loss of each arm minus the baseline's (95 % interval, paired seeds; negative is better)"]
    for row in result["paired"]:
        versus = f"{row['arm']} - {row['baseline']}"
        interval = f"{row['mean']:+.4f}  [{row['low']:+.4f}, {row['high']:+.4f}]  n={row['n']}"
        lines.append(f"  {versus:<32}{row['task']:<16}{interval}")
    return [*lines, f"report: {result['path']}/report.html"]
