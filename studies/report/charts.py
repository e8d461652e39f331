"""The report's charts: matplotlib, as inline SVG whose colours are the page's own, light or dark.

The same numbers give the same bytes: no dates, identifiers salted by the chart's name.
"""

import html
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from thresher.shown import shown
from thresher.studies.report.content import Histogram
from thresher.studies.report.results import Row

# Drawn in colours that stand for the page's variables, and exchanged for them in the SVG.
INK, MUTED, LINE, ACCENT, CONTROL = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", ACCENT: "--accent", CONTROL: "--control"}
_FIXED = {"--ink": "#1d1f21", "--muted": "#62666b", "--line": "#d9dadc", "--accent": "#0b6e8f", "--control": "#a7abb0"}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.left": False,
    "ytick.labelcolor": INK,
    "text.parse_math": False,
}
WIDE, NARROW = 7.6, 3.5
"""Inches that a chart is drawn in: for 750 pixels, and for the 310 of a phone, so that its text is as large there."""
MOST_DOMAINS = 24
_LONGEST_NAME = {WIDE: 28, NARROW: 17}


def forest(rows: Sequence[Row], baseline: str, width: float = WIDE) -> str | None:
    """Paired differences to the baseline with their intervals, task by task; None when there are none."""
    shown = [(row, row.difference) for row in rows if row.difference is not None]
    if not shown:
        return None
    # A line for the name of each task, then one for each arm.
    headings: dict[str, float] = {}
    places, bottom = [], -0.4
    for row, _ in shown:
        if row.task not in headings:
            headings[row.task] = bottom + 1.4
            bottom += 1.4
        bottom += 1
        places.append(bottom)

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=MUTED, linewidth=1)
        for (row, change), place in zip(shown, places, strict=True):
            color = ACCENT if row.role == "chosen" else CONTROL
            axes.plot([change.low, change.high], [place, place], color=color, linewidth=2, solid_capstyle="round")
            axes.plot([change.mean], [place], marker="o", markersize=6, color=color)
        axes.set_yticks(places, [_short(row.arm, width) for row, _ in shown], parse_math=False)
        for task, place in headings.items():
            axes.text(0, place, _short(task), transform=axes.get_yaxis_transform(), va="center", color=MUTED)
        axes.margins(x=0.1)
        axes.set_ylim(bottom + 0.7, 0.4)
        axes.set_xlabel(
            f"loss minus that of {_short(baseline, width)} data" + (" (left of 0: better)" if width == WIDE else "")
        )
        axes.xaxis.set_major_locator(MaxNLocator(6 if width == WIDE else 4))

    return _svg(
        "forest", draw, height=0.75 + 0.24 * bottom, label="Paired differences of loss to the baseline", width=width
    )


def domains(shares: Mapping[str, Mapping[str, float]], unit: str, width: float = WIDE) -> str | None:
    """Each domain's share of the `unit` before and after selection, most gained first; None with fewer than two."""
    if len(shares) < 2:
        return None
    most_changed = sorted(shares, key=lambda name: -abs(shares[name]["after"] - shares[name]["before"]))[:MOST_DOMAINS]
    names = sorted(most_changed, key=lambda name: (shares[name]["before"] - shares[name]["after"], name))

    def draw(axes: Axes) -> None:
        for place, name in enumerate(names):
            before, after = (100 * shares[name][when] for when in ("before", "after"))
            axes.plot([before, after], [place, place], color=LINE, linewidth=2, zorder=1)
            axes.plot([before], [place], marker="o", markersize=6, color=CONTROL, clip_on=False)
            axes.plot([after], [place], marker="o", markersize=7, color=ACCENT, clip_on=False)
        axes.set_yticks(range(len(names)), [_short(name, width) or "(none)" for name in names], parse_math=False)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"share of the {unit}, %")

    return _svg(
        "domains",
        draw,
        height=0.75 + 0.24 * len(names),
        label="Share of each domain before and after selection",
        width=width,
    )


def mixture(
    weights: Mapping[str, float],
    intervals: Mapping[str, Sequence[float]] | None,
    baselines: Mapping[str, Mapping[str, float]] | None,
    width: float = WIDE,
) -> str:
    """Each domain's proposed weight, largest first, with its interval and the natural weight where they are known."""
    names = sorted(weights, key=lambda name: (-weights[name], name))
    natural = (baselines or {}).get("natural", {})

    def draw(axes: Axes) -> None:
        for place, name in enumerate(names):
            if intervals:
                low, high = (100 * end for end in intervals[name])
                axes.plot([low, high], [place, place], color=ACCENT, linewidth=2, solid_capstyle="round")
            if name in natural:
                axes.plot([100 * natural[name]], [place], marker="o", markersize=6, color=CONTROL, clip_on=False)
            axes.plot([100 * weights[name]], [place], marker="o", markersize=7, color=ACCENT, clip_on=False)
        axes.set_yticks(range(len(names)), [_short(name, width) for name in names], parse_math=False)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel("share of the training data, %")

    return _svg("mixture", draw, height=0.75 + 0.24 * len(names), label="Proposed weight of each domain", width=width)


def learning_curve(rows: Sequence[Mapping[str, Any]], width: float = WIDE) -> str:
    """Loss against compute, the mean over seeds with all of them as dots: random data as a line through its budgets,
    every other arm as a point; one panel a task. `rows`: arm, seed, task, loss, flops.
    """
    tasks = list(dict.fromkeys(row["task"] for row in rows))

    return _panels(
        "learning-curve",
        tasks,
        lambda axes, task: _curve(axes, task, rows),
        label="Held-out loss against training compute",
        width=width,
    )


def _panels(
    name: str, titles: Sequence[str], draw_one: Callable[[Axes, str], None], *, label: str, width: float
) -> str:
    """Small charts, three in a row, or one where it is narrow."""
    columns = min(3 if width == WIDE else 1, len(titles))
    num_rows = -(-len(titles) // columns)

    def draw(axes: Axes) -> None:
        axes.set_axis_off()
        for place, title in enumerate(titles):
            box = ((place % columns) / columns, 1 - (place // columns + 1) / num_rows, 0.8 / columns, 0.66 / num_rows)
            panel = axes.inset_axes(box)
            panel.tick_params(labelsize=8)
            draw_one(panel, title)

    return _svg(name, draw, height=2.8 * num_rows, label=label, width=width)


def _curve(axes: Axes, task: str, rows: Sequence[Mapping[str, Any]]) -> None:
    points: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        if row["task"] == task:
            flops, losses = points.setdefault(row["arm"], ([], []))
            flops.append(row["flops"])
            losses.append(row["loss"])
    random = sorted((arm for arm in points if arm.split(" x ")[0] == "random"), key=lambda arm: points[arm][0][0])
    for arm, (flops, losses) in points.items():
        color = CONTROL if arm in random else ACCENT
        axes.plot(flops, losses, marker=".", markersize=3, linestyle="", color=color, alpha=0.5)
        if arm not in random:
            axes.plot([np.mean(flops)], [np.mean(losses)], marker="o", markersize=4, color=color)
            axes.annotate(_short(arm), (float(np.mean(flops)), float(np.mean(losses))), xytext=(4, 0), fontsize=8,
                          textcoords="offset points", va="center", color=INK)  # fmt: skip
    line = [(float(np.mean(points[arm][0])), float(np.mean(points[arm][1]))) for arm in random]
    axes.plot(*zip(*line, strict=True), marker="o", markersize=4, color=CONTROL)
    axes.set_xscale("log")
    axes.set_xticks([flops for flops, _ in line], [f"{flops:.1e}".replace("e+", "e") for flops, _ in line])
    axes.margins(x=0.25, y=0.1)
    axes.minorticks_off()
    axes.set_title(_short(task), fontsize=9, color=MUTED, parse_math=False)
    axes.set_xlabel("training FLOPs", fontsize=8)
    axes.set_ylabel("loss", fontsize=8, color=MUTED)


def against_cost(rows: Mapping[str, Mapping[str, Any]], label: str) -> str:
    """A measure with its interval (`lds`: mean, low, high) against cost relative to the reference, a point a size."""
    ordered = sorted(rows.items(), key=lambda item: item[1]["relative"])

    def draw(axes: Axes) -> None:
        costs = [row["relative"] for _, row in ordered]
        for (size, row), cost in zip(ordered, costs, strict=True):
            axes.plot([cost, cost], [row["lds"]["low"], row["lds"]["high"]], color=CONTROL, linewidth=2)
            axes.annotate(_short(size), (cost, row["lds"]["mean"]), xytext=(6, 0), textcoords="offset points",
                          va="center", fontsize=8, color=INK)  # fmt: skip
        axes.plot(costs, [row["lds"]["mean"] for _, row in ordered], marker="o", markersize=6, color=ACCENT)
        axes.set_xscale("log")
        axes.set_xticks(costs, [f"{cost:.2g}" for cost in costs])
        axes.minorticks_off()
        axes.margins(x=0.15, y=0.15)
        axes.set_xlabel("FLOPs of training and attribution, relative to the reference's")
        axes.set_ylabel(label, color=MUTED)

    return _svg("against-cost", draw, height=3.2, label=f"{label} against cost")


def scatter(rows: Sequence[Mapping[str, Any]], size: str, reference: str, width: float = WIDE) -> str:
    """Small-to-Large's figure 1: each recipe's loss at `size` against that at `reference`, means over seeds, a panel
    a test set with its R^2. `rows`: size, recipe, test_set, loss.
    """
    losses: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        losses.setdefault((row["test_set"], row["size"]), {}).setdefault(row["recipe"], []).append(row["loss"])
    names = list(dict.fromkeys(row["test_set"] for row in rows))

    def one(axes: Axes, name: str) -> None:
        ours, theirs = losses[name, size], losses[name, reference]
        x, y = (np.array([np.mean(side[recipe]) for recipe in ours]) for side in (ours, theirs))
        axes.plot(x, y, marker="o", markersize=4, linestyle="", color=ACCENT, alpha=0.8)
        r2 = np.corrcoef(x, y)[0, 1] ** 2 if len(x) > 2 and x.std() and y.std() else float("nan")
        axes.set_title(f"{_short(name)}, R² = {r2:.2f}", fontsize=9, color=MUTED, parse_math=False)
        axes.set_xlabel(f"loss at {size}", fontsize=8)
        axes.set_ylabel(f"loss at {reference}", fontsize=8, color=MUTED)

    return _panels("scatter", names, one, label=f"Losses at {size} against losses at {reference}", width=width)


def histogram(bins: Histogram, width: float = WIDE) -> str:
    """Scores of kept and dropped examples, stacked."""

    def draw(axes: Axes) -> None:
        edges, kept, dropped = (np.asarray(values) for values in (bins.edges, bins.kept, bins.dropped))
        axes.stairs(dropped, edges, fill=True, color=CONTROL)
        axes.stairs(dropped + kept, edges, baseline=dropped, fill=True, color=ACCENT)
        axes.set_xlabel("score, higher = more helpful")
        axes.set_ylabel("examples")
        axes.tick_params(axis="y", labelcolor=MUTED)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter("{x:,.0f}")

    return _svg("histogram", draw, height=2.3, label="Histogram of scores, kept and dropped", width=width)


def _svg(name: str, draw: Callable[[Axes], None], *, height: float, label: str, width: float = WIDE) -> str:
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # A name in a script that matplotlib's font lacks is measured roughly; the reader's browser draws it.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(buffer.getvalue(), name if width == WIDE else f"{name}-narrow", label)


def _for_page(svg: str, name: str, label: str) -> str:
    """The <svg> element alone, in the page's font and colours, with identifiers that no other chart on the page has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    svg = re.sub(r'(id="|"#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>',
        lambda match: f'<svg role="img" aria-label="{html.escape(label)}" {match[1]}>',
        svg,
    )
    for color, variable in _VARIABLES.items():
        svg = _coloured(svg, color, variable)
    return svg


def _coloured(svg: str, color: str, variable: str) -> str:
    """The variable for a colour where one stands, in a tag, and not in a text that is written the same."""
    return re.sub("<[^>]*>", lambda tag: tag[0].replace(color, f"var({variable})"), svg)


def standalone(svg: str) -> str:
    """A chart of this module as a file of its own, in fixed colours."""
    for variable, color in _FIXED.items():
        svg = svg.replace(f"var({variable})", color)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return svg.replace("<svg ", f'<svg {names} font-family="sans-serif" ', 1)


def _short(name: str, width: float = WIDE) -> str:
    name, longest = shown(name), _LONGEST_NAME[width]
    return name if len(name) <= longest else name[: longest - 1] + "…"
