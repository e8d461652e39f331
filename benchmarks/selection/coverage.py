"""How often the intervals of decisions hold the truth, with few recipes that nearly agree.

    python -m benchmarks.selection.coverage OUT.json [--draws 400] [--resamples 400]

Recipes are drawn from populations whose decision accuracy, Spearman's and Pearson's squared correlation are known (of
40 samples of 1,000). Four ways to disagree, each at several strengths:

    noise      the proxy's loss is the reference's and Gaussian noise
    outliers   and noise with heavy tails (Student's t, 2 degrees of freedom)
    coin       the proxy places a share of the recipes at random, the others exactly
    reversed   a share of the recipes is out of order with every other recipe, the hardest case there is (see `power`):
               it is there to say where the rule ends

For each measure: the share of intervals that hold the truth, and their mean width, of `decisions.judge` and of the
percentiles of resampled recipes alone (a fifth of the draws, 100 resamples).
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from thresher.intervals import Interval, percentiles
from thresher.places import write_json
from thresher.seeds import numpy_rng
from thresher.selection import judge

SIZES = (3, 4, 6, 12, 24)
MEASURES = ("decision_accuracy", "spearman", "r2")
STRENGTHS = {
    "noise": (0.1, 0.3),
    "outliers": (0.1, 0.2),
    "coin": (0.03, 0.1),
    "reversed": (0.02, 0.06),
}
NEAR = 0.85
"""Near full agreement: populations with at least this decision accuracy."""

Losses = Float[np.ndarray, "n"]


def draw(kind: str, strength: float, n: int, rng: np.random.Generator) -> tuple[Losses, Losses]:
    """Losses of n recipes at the proxy and at the reference."""
    y = rng.normal(size=n)
    if kind == "noise":
        return y + strength * rng.normal(size=n), y
    if kind == "outliers":
        return y + strength * rng.standard_t(2, size=n), y
    aside = rng.random(n) < strength
    if kind == "coin":
        return np.where(aside, rng.normal(size=n), y), y
    far = 8 + np.abs(y)
    return np.where(aside, -far, y), np.where(aside, far, y)


def measured(x: Losses, y: Losses) -> dict[str, float]:
    """The measures of recipes as they are."""
    return {name: found.value for name, found in judge({"a": x}, {"a": y}, num_resamples=0)["a"].items()}


def truth(kind: str, strength: float, num_samples: int = 40, seed: int = 0) -> dict[str, float]:
    """The measures in the population: means over samples of 1,000 recipes."""
    rng = numpy_rng(seed, "truth", kind, str(strength))
    samples = [measured(*draw(kind, strength, 1000, rng)) for _ in range(num_samples)]
    return {name: float(np.mean([sample[name] for sample in samples])) for name in MEASURES}


def recipes_alone(x: Losses, y: Losses, num_resamples: int, seed: int) -> dict[str, Interval]:
    """Percentiles over resamples of the recipes, the rule that leaves no room for another."""
    rng = numpy_rng(seed, "alone")
    rows: list[dict[str, float]] = []
    for _ in range(num_resamples):
        drawn = rng.integers(len(x), size=len(x))
        rows.append(_plain(x[drawn], y[drawn], drawn))
    found = {}
    for name, value in measured(x, y).items():
        if name in MEASURES:
            low, high = percentiles(np.array([row[name] for row in rows]))
            found[name] = Interval(value, float(low), float(high))
    return found


def _plain(x: Losses, y: Losses, drawn: np.ndarray) -> dict[str, float]:
    """The measures of drawn recipes, copies of one forming no pair; by their definitions."""
    from scipy.stats import rankdata

    different = drawn[:, None] != drawn
    same = np.sign(x[:, None] - x) == np.sign(y[:, None] - y)
    accuracy = float(same[different].mean()) if different.any() else 1.0
    spearman, pearson = _correlation(rankdata(x), rankdata(y)), _correlation(x, y)
    return {"decision_accuracy": accuracy, "spearman": spearman, "r2": pearson**2}


def _correlation(x: Losses, y: Losses) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if x.std() > 0 and y.std() > 0 else 0.0


def coverage(
    rule: Callable[[Losses, Losses, int], dict[str, Interval]],
    kind: str,
    strength: float,
    n: int,
    known: dict[str, float],
    num_draws: int,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Measure -> the share of `num_draws` intervals that hold the truth, and their mean width."""
    rng = numpy_rng(seed, "draws", kind, str(strength), n)
    found = [rule(*draw(kind, strength, n, rng), i) for i in range(num_draws)]
    return {
        name: {
            "holds": float(np.mean([own[name].low - 1e-9 <= known[name] <= own[name].high + 1e-9 for own in found])),
            "width": float(np.mean([own[name].high - own[name].low for own in found])),
        }
        for name in MEASURES
    }


def main() -> None:
    """Run all, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=400)
    arguments = parser.parse_args()
    count = arguments.resamples
    rules: dict[str, Callable[[Losses, Losses, int], dict[str, Interval]]] = {
        "unseen": lambda x, y, seed: judge({"a": x}, {"a": y}, top=(), num_resamples=count, seed=seed)["a"],
        "alone": lambda x, y, seed: recipes_alone(x, y, count // 4, seed),
    }
    rows: list[dict[str, Any]] = []
    for kind, strengths in STRENGTHS.items():
        for strength in strengths:
            known = truth(kind, strength)
            for n in SIZES:
                row = {"kind": kind, "strength": strength, "n": n, "truth": known}
                for name, rule in rules.items():
                    draws = arguments.draws if name == "unseen" else arguments.draws // 5
                    row[name] = coverage(rule, kind, strength, n, known, draws) | {"draws": draws}
                rows.append(row)
                print(json.dumps(row), flush=True)
    write_json({"draws": arguments.draws, "resamples": count, "least": _least(rows), "rows": rows}, arguments.out)


def _least(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Kind -> rule and measure -> the least share that holds the truth, where recipes nearly agree."""
    near = [row for row in rows if row["truth"]["decision_accuracy"] >= NEAR]
    return {
        kind: {
            f"{rule} {measure}": min(row[rule][measure]["holds"] for row in near if row["kind"] == kind)
            for rule in ("unseen", "alone")
            for measure in MEASURES
        }
        for kind in STRENGTHS
    }


if __name__ == "__main__":
    main()
