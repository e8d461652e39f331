"""How the default was chosen, by one rule, on runs that judge nothing; and, afterwards, how each way did on the test.

    python -m benchmarks.mixture.choice TABLES [--json FILE] [--judge]

The rule: of every law that predicts losses and has a gradient, fitted to the logarithms of the losses, and every equal
mean of two of them, take the one of least tenfold error on RegMix's 512 training mixtures (root mean square, in units
of each log loss's spread, mean over the 13 losses). Trees are measured and left out of the choice: their 200 refits
take longer than a bootstrap may. Nothing else is read: no test mixture, no other model size. 5Mix, an independent set
of runs at several sizes, is a check of the choice and no part of it.

`--judge` reads the test mixtures, once, for three ways: the rule's choice, weights stacked by the same folds, and the
equal mean of the four families. `extrapolation` is a fourth, which takes the same pair as the rule. The order in which
they were tried is in docs/log.md.
"""

import argparse
import json
import time
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from benchmarks.mixture.measured import measured
from benchmarks.mixture.published import five_mix, pile, ranks
from thresher.selection.mixture import METHODS, LogLaw, Losses, MixtureTable, Weights, folds

SMOOTH = ("linear", "exponential", "effective", "diminishing", "gaussian-process")
FAMILIES = ("exponential", "effective", "gaussian-process", "regmix")


def fit_log(name: str, weights: Weights, losses: Losses) -> LogLaw:
    return LogLaw(METHODS[name].fit(weights, np.log(losses), 0))


def out_of_fold(name: str, table: MixtureTable, num_folds: int) -> Losses:
    """Log losses of each run as the other folds predict them."""
    found = np.empty_like(table.losses)
    for train, held in folds(table, num_folds, 0):
        law = fit_log(name, table.weights[train], table.losses[train])
        found[held] = np.log(law.predict(table.weights[held]))
    return found


def error(predicted: Losses, truth: Losses) -> float:
    return float(np.mean(np.sqrt(np.mean((predicted - truth) ** 2, axis=0)) / truth.std(axis=0)))


def tenfold(table: MixtureTable) -> tuple[dict[str, Losses], dict[str, dict[str, float]]]:
    """Each law's out-of-fold log losses; errors and ranks of all laws and equal pairs, best first."""
    held, seconds = {}, {}
    for name in (*SMOOTH, "regmix"):
        start = time.process_time()
        held[name] = out_of_fold(name, table, 10)
        seconds[name] = time.process_time() - start
    truth, rows = np.log(table.losses), {}
    for group in singles_and_pairs(held):
        mean = np.mean([held[name] for name in group], axis=0)
        rows[" + ".join(group)] = {"error": error(mean, truth), "spearman": float(ranks(mean, truth).mean())}
    ordered = dict(sorted(rows.items(), key=lambda row: row[1]["error"]))
    return held, ordered | {"CPU seconds of ten fits": seconds}


def singles_and_pairs(names: Iterable[str]) -> list[tuple[str, ...]]:
    names = list(names)
    return [(name,) for name in names] + list(combinations(names, 2))


def extrapolation(table: MixtureTable, share: float = 0.2) -> dict[str, dict[str, float]]:
    """Errors of each smooth law and equal pair on the fifth of the runs beyond those fitted, least mean first.

    `lower`: of each loss, the runs where it is lowest. `far`: the mixtures of largest KL to the mean one.
    """
    truth, spread = np.log(table.losses), np.log(table.losses).std(axis=0)
    count = round(share * len(table))
    mean = table.weights.mean(axis=0)
    unlike = np.sum(table.weights * np.log((table.weights + 1e-12) / mean), axis=1)
    far = np.argsort(unlike)[-count:]
    lowest = np.argsort(truth, axis=0)[:count]

    def beyond(name: str, held: np.ndarray, targets: slice) -> Losses:
        kept = np.setdiff1d(np.arange(len(table)), held)
        law = fit_log(name, table.weights[kept], table.losses[kept, targets])
        return (np.log(law.predict(table.weights[held])) - truth[held, targets]) / spread[targets]

    wrong = {}
    for name in SMOOTH:
        lower = [beyond(name, rows, slice(j, j + 1)) for j, rows in enumerate(lowest.T)]
        wrong[name] = {"lower": np.hstack(lower), "far": beyond(name, far, slice(None))}
    rows = {}
    for group in singles_and_pairs(SMOOTH):
        found = {
            kind: float(np.sqrt(np.mean(np.mean([wrong[name][kind] for name in group], axis=0) ** 2, axis=0)).mean())
            for kind in ("lower", "far")
        }
        rows[" + ".join(group)] = found | {"error": (found["lower"] + found["far"]) / 2}
    return dict(sorted(rows.items(), key=lambda row: row[1]["error"]))


def five_mix_check(tables: Path, groups: list[tuple[str, ...]]) -> dict[str, dict[str, float]]:
    """Leave one of 26 mixtures out at a small size, rank all at 410M; mean Spearman over 22 sets."""
    sizes = five_mix(tables)
    names = {name for group in groups for name in group}
    held = {
        (name, size): out_of_fold(name, sizes[size], len(sizes[size]))
        for name in names
        for size in ("70M", "160M", "305M")
    }
    return {
        " + ".join(group): {
            size: float(ranks(np.mean([held[name, size] for name in group], axis=0), sizes["410M"].losses).mean())
            for size in ("70M", "160M", "305M")
        }
        for group in groups
    }


def stacked(held: dict[str, Losses], truth: Losses, names: tuple[str, ...]) -> np.ndarray:
    """Of each loss, weights >= 0 that sum to 1 and make the out-of-fold error least [k, laws]."""
    found = []
    for j in range(truth.shape[1]):
        columns = np.column_stack([held[name][:, j] for name in names])
        scale, heavy = truth[:, j].std(), 1e3 * np.sqrt(len(truth))
        weights, _ = nnls(
            np.vstack([columns / scale, np.full(len(names), heavy)]), np.append(truth[:, j] / scale, heavy)
        )
        found.append(weights / weights.sum())
    return np.array(found)


def judge(tables: Path, train: MixtureTable, held: dict[str, Losses], chosen: tuple[str, ...]) -> dict:
    """Spearman on the test mixtures at 1M, 60M and 1B of the three ways, and of what each law does alone."""
    laws = {name: fit_log(name, train.weights, train.losses) for name in held}
    shares = stacked(held, np.log(train.losses), SMOOTH[1:])
    pile_cc, found = train.targets.index("pile_cc"), {}
    for scale in ("1m", "60m", "1B"):
        test = pile(tables, "test", scale)
        logs = {name: np.log(law.predict(test.over(train.domains))) for name, law in laws.items()}
        ways = dict(logs)
        ways["the rule's choice: " + " + ".join(chosen)] = np.mean([logs[name] for name in chosen], axis=0)
        ways["stacked by the folds"] = sum(logs[name] * shares[:, i] for i, name in enumerate(SMOOTH[1:]))
        ways["equal mean of four families"] = np.mean([logs[name] for name in FAMILIES], axis=0)
        for name, predicted in ways.items():
            rho = ranks(predicted, test.losses)
            found.setdefault(name, {}).update(
                {f"pile_cc {scale}": float(rho[pile_cc]), f"mean {scale}": float(rho.mean())}
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--judge", action="store_true", help="read the test mixtures")
    options = parser.parse_args()
    train = pile(options.tables, "train", "1m")
    held, rows = tenfold(train)
    smooth = [name for name in rows if name != "CPU seconds of ten fits" and "regmix" not in name]
    chosen = tuple(smooth[0].split(" + "))
    found = {
        **measured("how the default mixture law was chosen"),
        "tenfold on 512 training mixtures": rows,
        "chosen": " + ".join(chosen),
        "extrapolation on the same": extrapolation(train),
    }
    groups = [("exponential",), ("effective",), ("diminishing",), ("gaussian-process",)]
    groups += [chosen, ("effective", "gaussian-process")]
    found["5Mix, Spearman at 410M"] = five_mix_check(options.tables, list(dict.fromkeys(groups)))
    if options.judge:
        found["test, Spearman"] = judge(options.tables, train, held, chosen)
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
