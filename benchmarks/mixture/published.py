"""Reproduce the published mixture figures, and measure ours beside them.

    python -m benchmarks.mixture.published TABLES [--json FILE] [--quick]

TABLES is a folder with `autoscale_ddo_gpt2large_1.2B_ppl.csv`, `mixing_laws_5mix.csv` and `regmix/`.
`--quick` leaves out the bootstrap of all 13 losses. How the default was chosen: choice.py.
"""

import argparse
import csv
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.mixture.measured import measured
from thresher.selection.mixture import (
    DEFAULT,
    METHODS,
    Columns,
    DomainScaling,
    LinearLaw,
    MixtureTable,
    Runs,
    bootstrap,
    extrapolate,
    fit_autoscale,
    fit_domain_dsdm,
    fit_exponential,
    make_constraints,
    make_goal,
    make_table,
    optimise,
    project_paper,
    read_table,
)

PILE = Columns(("train_the_pile_*",), ("metric/the_pile_*_val_loss",), "index")
# Parameters (a, b, c), optimum and weights as released with AutoScale.
AUTOSCALE_FITS = np.array(
    [
        (2.665873, 1.249202, 0.802654),
        (6.616176, 1.436001, 0.945822),
        (2.673602, 1.53626, 0.864521),
        (2.463107, 1.828731, 0.896852),
        (2.518384, 1.185872, 0.775039),
        (2.889958, 1.953628, 0.929617),
        (3.319174, 1.926671, 0.940325),
    ]
)
AUTOSCALE_OPTIMUM = np.array([1.624754, 0.2, 1.274152, 1.179796, 1.851900, 0.637164, 0.232236])
AT_03B = np.array([1.55818971, 0.2, 1.1645966, 1.42333261, 1.49550525, 0.68184781, 0.47652801])
AT_12B = np.array([1.63121445, 0.2, 1.30180479, 1.21425702, 1.83266187, 0.62006189, 0.2])
AT_06B = np.array([1.6537299, 0.2, 1.1988018, 1.27792191, 1.62120831, 0.7912898, 0.25704828]) / 7
PROJECTED = {
    3e9: [0.2346, 0.0279, 0.1953, 0.153, 0.2917, 0.0814, 0.016],
    10e9: [0.2324, 0.0266, 0.2044, 0.1278, 0.3296, 0.0717, 0.0074],
}


def autoscale(tables: Path) -> dict:
    average = np.loadtxt(tables / "autoscale_ddo_gpt2large_1.2B_ppl.csv", delimiter=",", skiprows=1)[:, -1]
    law = fit_autoscale(Runs(average[0], average[1:8], average[8:]))
    optimum = law.optimum()
    first, second = AT_03B / 7 * 0.3e9, AT_12B / 7 * 1.2e9
    return {
        "largest error of a, b, c": np.abs(np.column_stack([law.a, law.b, law.c]) - AUTOSCALE_FITS).max(),
        "largest error of the optimum": np.abs(optimum - AUTOSCALE_OPTIMUM).max(),
        "objective (6.942005)": law.objective(optimum),
        "largest error of projected weights (printed to 1e-4)": max(
            np.abs(project_paper(first, second, budget).weights - weights).max()
            for budget, weights in PROJECTED.items()
        ),
        "held-out 0.6B composition (.0196)": np.abs(project_paper(first, second, 0.6e9).weights - AT_06B).max(),
    }


def pile(tables: Path, split: str, scale: str) -> MixtureTable:
    return read_table([tables / f"regmix/{split}_{kind}_{scale}.csv" for kind in ("mixture", "pile_loss")], PILE)


def ranks(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    return np.array([spearmanr(p, y).statistic for p, y in zip(predicted.T, measured.T, strict=True)])


def regmix(tables: Path) -> dict:
    """Every method fitted on the 512 runs at 1M, ranks on the held-out mixtures at 1M, 60M and 1B."""
    train = pile(tables, "train", "1m")
    pile_cc = train.targets.index("pile_cc")
    tests = {scale: pile(tables, "test", scale) for scale in ("1m", "60m", "1B")}
    found = {"OLS on rows as rounded (printed .9021 .8933 .8766)": _ols_as_printed(tables, pile_cc)}
    fits = {"exponential, Huber at .15 sd (printed .9637 .9584 .9851)": partial(fit_exponential, delta=0.15)}
    fits |= {name: method.fit for name, method in METHODS.items() if method.predicts_losses}
    for name, fit in fits.items():
        start = time.process_time()
        law = fit(train.weights, train.losses, 0)
        seconds = time.process_time() - start
        row = {}
        for scale, test in tests.items():
            rho = ranks(law.predict(test.over(train.domains)), test.losses)
            row |= {f"pile_cc {scale}": rho[pile_cc], f"mean {scale}": rho.mean()}
        found[name] = row | {"fit CPU seconds": seconds}
    return found


def _ols_as_printed(tables: Path, target: int) -> dict:
    def rows(split, scale):
        pair = []
        for kind in ("mixture", "pile_loss"):
            pair.append(np.loadtxt(tables / f"regmix/{split}_{kind}_{scale}.csv", delimiter=",", skiprows=1)[:, 1:])
        return pair

    law = LinearLaw(*rows("train", "1m"))
    found = {}
    for scale in ("1m", "60m", "1B"):
        weights, losses = rows("test", scale)
        found[f"pile_cc {scale}"] = ranks(law.predict(weights), losses)[target]
    return found


def _five_mix_rows(tables: Path) -> list[dict]:
    with open(tables / "mixing_laws_5mix.csv", newline="") as file:
        return list(csv.DictReader(file))


def five_mix(tables: Path, step: int = 30_000) -> dict[str, MixtureTable]:
    """One table a model size, at one step, over the same 26 mixtures and 22 sets."""
    cells, weights = {}, {}
    for row in _five_mix_rows(tables):
        weights[int(row["mixture"])] = [float(row[f"w{j}"]) for j in range(1, 6)]
        cells[row["model"], int(row["mixture"]), int(row["step"]), row["validation_set"]] = float(row["loss"])
    sets = sorted({key[3] for key in cells})
    found = {}
    for size in sorted({key[0] for key in cells}):
        mixtures = [m for m in sorted(weights) if all((size, m, step, s) in cells for s in sets)]
        if len(mixtures) >= 3:
            losses = np.array([[cells[size, m, step, s] for s in sets] for m in mixtures])
            found[size] = make_table(list("12345"), sets, np.array([weights[m] for m in mixtures]), losses)
    return found


def one_billion(tables: Path) -> dict:
    """Predict the six runs at 1B from 70M to 410M: step law, then size law, then mixing law.

    Four of the mixtures were run at the small sizes too (size law alone); 998 and 999 are known at 1B only (all three).
    """
    amounts = {"70M": 70e6, "160M": 160e6, "305M": 305e6, "410M": 410e6}
    cells, weights = {}, {}
    for row in _five_mix_rows(tables):
        weights[int(row["mixture"])] = [float(row[f"w{j}"]) for j in range(1, 6)]
        cells[row["model"], int(row["mixture"]), row["validation_set"], int(row["step"])] = float(row["loss"])
    sets = sorted({key[2] for key in cells})
    small = sorted({key[1] for key in cells if key[0] == "410M"})
    large = sorted({key[1] for key in cells if key[0] == "1B"})
    found = {}
    for mixture in large:
        steps = [key[3] for key in cells if key[:3] == ("1B", mixture, sets[0])]
        last = max(steps)
        measured = np.array([cells["1B", mixture, s, last] for s in sets])
        at_size = {size: _at_step(cells, size, small, sets, last) for size in amounts}
        curves = np.stack([at_size[size] for size in amounts], axis=1)
        at_large = extrapolate(np.array(list(amounts.values())), curves, 1e9)
        row = {"step": last}
        for name in ("exponential", DEFAULT):
            train = [i for i, m in enumerate(small) if m != mixture]
            law = METHODS[name].fit(np.array([weights[small[i]] for i in train]), at_large[train], 0)
            predicted = law.predict(np.array([weights[mixture]]))[0]
            row |= _errors(f"{name}, mixture left out", predicted, measured)
        if mixture in small:
            row |= _errors("size law of its own runs", at_large[small.index(mixture)], measured)
        found[f"mixture {mixture}"] = row
    return found


def _at_step(cells, size, mixtures, sets, step) -> np.ndarray:
    """Losses at `step`: measured where every run reached it, else each run's step law over its 3k to 30k steps."""
    if all((size, m, s, step) in cells for m in mixtures for s in sets):
        return np.array([[cells[size, m, s, step] for s in sets] for m in mixtures])
    steps = sorted({key[3] for key in cells if key[0] == size and 9_000 <= key[3] <= 30_000})
    steps = [t for t in steps if all((size, m, s, t) in cells for m in mixtures for s in sets)]
    curves = np.array([[[cells[size, m, s, t] for s in sets] for t in steps] for m in mixtures])
    return extrapolate(np.array(steps, dtype=float), curves, step)


def _errors(name: str, predicted: np.ndarray, measured: np.ndarray) -> dict:
    relative = np.abs(predicted / measured - 1)
    return {f"{name}: mean relative error": relative.mean(), f"{name}: largest": relative.max()}


def speed(tables: Path, resamples: int) -> dict:
    """20 domains: 256 made-up runs, floors and ceilings. Bootstrap: the default on all 512 runs and 13 losses."""
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.full(20, 0.5), size=256)
    losses = 2 + np.exp(-weights @ rng.uniform(0, 3, (20, 3))) + 0.01 * rng.normal(size=(256, 3))
    domains = tuple(f"d{number}" for number in range(20))
    limits = make_constraints(
        domains, floors={"d3": 0.02}, ceilings=dict.fromkeys(domains, 0.3), kl_weight=0.01, max_kl=1.5
    )
    found = {}
    for name, method in METHODS.items():
        law = method.fit(weights, losses, 0)
        goal = make_goal(["a", "b", "c"] if method.predicts_losses else ["utility"])
        start = time.process_time()
        optimise(law, goal, limits, starts=weights)
        found[f"optimise 20 domains, {name}"] = time.process_time() - start
    others = {
        "autoscale": DomainScaling(rng.uniform(1, 5, 20), rng.uniform(0.5, 2, 20), np.full(20, 0.9)),
        "domain-dsdm": fit_domain_dsdm(rng.normal(size=(20, 3)), np.ones(20)),
    }
    for name, law in others.items():
        goal = make_goal(["a", "b", "c"][: law.predict(weights[:1]).shape[1]])
        start = time.process_time()
        optimise(law, goal, limits, starts=weights)
        found[f"optimise 20 domains, {name}"] = time.process_time() - start
    if resamples:
        train = pile(tables, "train", "1m")
        law = METHODS[DEFAULT].fit(train.weights, train.losses, 0)
        limits, goal = make_constraints(train.domains), make_goal(train.targets)
        best = optimise(law, goal, limits).weights
        start = time.process_time()
        bootstrap(law, train, goal, limits, best[None], num_resamples=resamples)
        found[f"bootstrap of {resamples}, 512 runs, 13 losses"] = time.process_time() - start
    return found


def show(title: str, table: dict) -> None:
    print(f"\n{title}")
    for name, value in table.items():
        cells = value.items() if isinstance(value, dict) else [("", value)]
        print(f"  {name}: " + ", ".join(f"{key} {number:.6g}".strip() for key, number in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    found = {"AutoScale": autoscale(options.tables), "RegMix, Spearman": regmix(options.tables)}
    found["5Mix at 1B from 70M to 410M"] = one_billion(options.tables)
    found["CPU seconds"] = speed(options.tables, 0 if options.quick else 200)
    for title, table in found.items():
        show(title, table)
    if options.json:
        found = {**measured("published mixture tables"), **found}
        options.json.write_text(json.dumps(found, indent=1, default=float))


if __name__ == "__main__":
    main()
