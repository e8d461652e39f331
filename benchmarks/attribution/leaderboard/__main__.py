"""All scorers on one ground, ours and other packages': LDS, QLD, seconds, memory, and what it costs in passes.

    python -m benchmarks.attribution.leaderboard [--only language language-2 cifar] [--checkpoints 5] [--json FILE]

`lds`        the mean over target examples, with its interval over subsets and targets, and the paired difference to
             BM25 (text) or to the cosine of embeddings (images)
`relative`   the same without the level of each retraining (`thresher.attribution.without_level`)
`averaged`   the same of groups of targets (domains, classes), whose scores and margins are averaged first: what a
             selection asks
`left_out`   QLD of the four largest groups: their mean loss after training without the top 1 % of a row, less that
             without as much random data, 3 paired seeds (`thresher.studies.leave_out`)
`seconds`    of all checkpoints, pool and targets together, and in plain forward and backward passes over the pool under
             each; `memory_gb` the most that the process held above what it held before, `process_gb` the most it held

One process a row, so that memory is its own; rows that are in FILE already are not made again. Combinations are the
mean of scores in units of their spread. `--ours` leaves the other packages out, `--no-left-out` the retrainings of QLD.
"""

import time

import numpy as np

from benchmarks.attribution.grounds import SETTINGS, asked, ground_of, keep
from benchmarks.attribution.leaderboard.judging import judge, left_out
from benchmarks.attribution.leaderboard.rows import PEERS, combined, rows_of, scores_of, scores_of_peer


def main() -> None:
    arguments, results = asked(
        __doc__, SETTINGS, only=["language", "language-2", "cifar"], checkpoints=5, flags=("--ours", "--no-left-out")
    )
    for name in arguments.only:
        ground = ground_of(name, arguments.data, arguments.checkpoints)
        own = results.setdefault(name, {})
        costs = own.setdefault("costs", {})
        scores: dict[str, np.ndarray] = {}
        for row in rows_of(ground):
            scores[row] = scores_of(name, row, arguments.data, arguments.checkpoints, costs)
            keep(arguments, results)
        if not arguments.ours:
            for peer in PEERS[ground.setting.is_text]:
                scores |= scores_of_peer(name, peer, ground, costs)
                keep(arguments, results)
        scores |= combined(scores)
        own |= judge(ground, scores) | {"date": time.strftime("%Y-%m-%d"), "checkpoints": arguments.checkpoints}
        keep(arguments, results)
        show(name, own)
        if not arguments.no_left_out:
            own["left_out"] = left_out(ground, scores, num_groups=4, repeats=3)
            keep(arguments, results)
            show_left_out(own["left_out"])


def show(name: str, found: dict) -> None:
    """Print the rows of a ground as a table in Markdown, the best first."""
    kinds = ("lds", "lds_relative", "averaged_relative")
    print(f"\n{name}\n\n| scorer | LDS | less {found['baseline']} | without level | averaged | seconds | passes |")
    print("|---" * 7 + "|")
    for row in sorted(found["lds"], key=lambda row: -found["lds"][row]["lds"]["mean"]):
        single, relative, averaged = (found[kind][row] for kind in kinds)
        cost = found["costs"].get(row, {})
        cells = [row, interval(single["lds"]), interval(single["difference"], "+") if "difference" in single else ""]
        cells += [interval(relative["lds"]), interval(averaged["lds"])]
        cells += [f"{cost[key]:.3g}" if key in cost else "" for key in ("seconds", "passes")]
        print("|", " | ".join(cells), "|")
    if "ceilings" in found:
        print(f"\nceilings: {', '.join(f'{kind} ' + interval(found['ceilings'][kind]['ceiling']) for kind in kinds)}")


def show_left_out(found: dict) -> None:
    """Print the QLD of every row and target as a table in Markdown."""
    columns = list(next(iter(found["table"].values())))
    print("\n| left out: the top of | " + " | ".join(columns) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for row, by_target in found["table"].items():
        print("|", row, *("| " + interval(by_target[column], "+", 4) for column in columns), "|")


def interval(found: dict, sign: str = "", digits: int = 3) -> str:
    low, middle, high = (f"{found[key]:{sign}.{digits}f}".replace("0.", ".", 1) for key in ("low", "mean", "high"))
    return f"{middle} [{low}, {high}]"


if __name__ == "__main__":
    main()
