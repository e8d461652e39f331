"""How the default was chosen, by one rule, on runs that judge nothing; and, afterwards, how each way did on the test.

    python -m benchmarks.mixture.choice TABLES [--json FILE] [--judge]

The rule: of every law that predicts losses and has a gradient, fitted to the logarithms of the losses, and every equal
mean of two of them, take the one of least tenfold error on RegMix's 512 training mixtures (root mean square, in units
of each log loss's spread, mean over the 13 losses). Trees are measured and left out of the choice: their 200 refits
take longer than a bootstrap may. Nothing else is read: no test mixture, no other model size. 5Mix, an independent set
of runs at several sizes, is a check of the choice and no part of it.

`--judge` reads the test mixtures, once, for three ways: the rule's choice, weights stacked by the same folds, and the
equal mean of the four families. The order in which they were tried is in docs/log.md.
"""

import argparse
import json
import time
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from benchmarks.mixture.published import five_mix, pile, ranks
from thresher.selection.mixture.law import LogLaw, Losses, Weights
from thresher.selection.mixture.methods import METHODS
from thresher.selection.mixture.table import MixtureTable, folds

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
    for group in [(name,) for name in held] + list(combinations(held, 2)):
        mean = np.mean([held[name] for name in group], axis=0)
        rows[" + ".join(group)] = {"error": error(mean, truth), "spearman": float(ranks(mean, truth).mean())}
    ordered = dict(sorted(rows.items(), key=lambda row: row[1]["error"]))
    return held, ordered | {"CPU seconds of ten fits": seconds}


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
    found = {"tenfold on 512 training mixtures": rows, "chosen": " + ".join(chosen)}
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
