"""LDS of every package's scores (`--scores`) on one ground truth, into the file of rows and the table.

python -m benchmarks.attribution.peers.lds --truth RETRAININGS --scores FOLDER --setting TEXT --json FILE
"""

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.attribution.peers.__main__ import TABLE, machine
from benchmarks.attribution.peers.report import merge, write_table
from thresher.attribution import lds_table, noise_ceiling, predict_outputs
from thresher.studies import open_retrainings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--setting", required=True, help="what the table calls this ground truth and its checkpoints")
    parser.add_argument("--baseline", help="a scorer: the others' ratio to it is given too")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    rows = joined(arguments.truth, arguments.scores, arguments.setting, arguments.baseline)
    for row in rows:
        print(f"{row['scorer']:40} " + (f"{row['mean']:.3f}" if "mean" in row else row["error"]))
    merge(arguments.json, "lds", rows, machine())
    write_table(arguments.json, TABLE)


def joined(truth: Path, scores: Path, setting: str, baseline: str | None = None) -> list[dict]:
    """A row for each scorer of the folder's `summary.json`, the failed ones too, and one for the noise ceiling."""
    ground = open_retrainings(truth)
    subsets, outputs = ground.subsets, ground.outputs("margin")
    summary = json.loads((scores / "summary.json").read_text())
    made = {name: np.load(scores / f"{name}.npy") for name, facts in summary.items() if "error" not in facts}
    if baseline is not None and baseline not in made:
        raise SystemExit(f"--baseline {baseline!r} has no scores in {scores}; it has: {', '.join(made)}")
    predicted = {name: predict_outputs([(0, values)], subsets) for name, values in made.items()}
    table = lds_table(predicted, outputs, baseline=baseline)
    rows = []
    for name, facts in summary.items():
        row = {"name": f"{setting} {name}", "setting": setting, "scorer": name} | facts
        if name in table:
            row |= _numbers(table[name]["lds"])
            row |= {"ratio_to_baseline": _numbers(table[name]["ratio"])} if "ratio" in table[name] else {}
        rows.append(row)
    if outputs.shape[1] > 1:
        ceiling = {"name": f"{setting} noise ceiling", "setting": setting, "scorer": "noise ceiling"}
        rows.append(ceiling | _numbers(noise_ceiling(outputs)["ceiling"]))
    return rows


def _numbers(estimate) -> dict[str, float]:
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}


if __name__ == "__main__":
    main()
