"""What each measure makes of published tables: decisions on one step, averaged, on sets that can decide or
weighted by signal to noise at the reference, by distance.

    python -m benchmarks.proxies.measures [--json FILE] [--data FOLDER]

5Mix   Data Mixing Laws: 26 mixtures, 22 sets, 70M to 305M against 410M at step 30,000; noise from the last 5 steps
RegMix 256 mixtures, 13 sets, 1M against 60M, one loss each: no noise is known, so nothing but distance applies
DCLM   data sets trained at 400M and at 1B parameters, 10 to 30 billion tokens; scores, of which 1 less is a loss

Every figure is the mean over test sets with its 95 % interval over recipes and an unseen one.
"""

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.attribution.peers.common import ROOT
from thresher.errors import InputError
from thresher.selection import MEAN, Criterion, LossColumns, LossTable, read_losses
from thresher.studies import judge_size

SCORES = tuple(
    """mmlu_fewshot hellaswag arc_easy arc_challenge piqa copa lambada_openai winograd winogrande boolq squad
    coqa jeopardy bigbench_qa_wikidata commonsense_qa openbook_qa""".split()
)
WAYS: dict[str, dict[str, Any]] = {
    "one step, all sets": {},
    "the last 3 averaged": {"average": 3},
    "sets that can decide": {"sets": "able"},
    "both": {"average": 3, "sets": "able"},
    "weighted by signal to noise": {"sets": "weighted"},
    "averaged and weighted": {"average": 3, "sets": "weighted"},
}
MEASURES = ("decision_accuracy", "weighted_accuracy", "clear_accuracy", "spearman")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("THRESHER_DATA", ROOT.parent / "shared/data")))
    arguments = parser.parse_args()
    rows = []
    for name, table, proxy, reference, step in tables(arguments.data / "tables"):
        for way, options in WAYS.items():
            try:
                found = judge_size(table, proxy, reference, Criterion(**options), step)
            except InputError as error:
                print(f"{name} {proxy}: {way}: {error}")
                continue
            own = found["judged"][MEAN]
            counted = sum(signal["is_counted"] for signal in found["signals"].values())
            measures = {measure: asdict(own[measure]) for measure in MEASURES if measure in own}
            row = {"table": name, "proxy": proxy, "reference": reference, "way": way, "measures": measures}
            rows.append(row | {"num_recipes": found["num_recipes"], "num_sets": counted})
            said = "  ".join(f"{m} {e['value']:.3f} [{e['low']:.3f}, {e['high']:.3f}]" for m, e in measures.items())
            print(f"{name} {proxy} against {reference}: {way} ({counted} sets, {found['num_recipes']} recipes): {said}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "rows": rows}, indent=1) + "\n")


def tables(folder: Path) -> Iterator[tuple[str, LossTable, str, str, float | None]]:
    """(name, table, proxy, reference, step) of everything that is compared."""
    columns = LossColumns(size="model", recipe="mixture", test_set="validation_set", step="step")
    mixing = read_losses([folder / "mixing_laws_5mix.csv"], columns)
    for proxy in ("70M", "160M", "305M"):
        yield "5Mix", mixing, proxy, "410M", 30_000
    files = {size: folder / "regmix" / f"test_pile_loss_{size.lower()}.csv" for size in ("1M", "60M")}
    regmix = read_losses(files, LossColumns(recipe="index", losses=("metric/*",)))
    yield "RegMix", regmix, "1M", "60M", None
    yield "DCLM", dclm(folder / "dclm_models.csv"), "400M", "1B", None


def dclm(file: Path) -> LossTable:
    """Of data sets that were trained at both sizes, the runs on the fewest tokens above 8 billion."""
    with open(file, newline="", encoding="utf-8") as opened:
        models = list(csv.DictReader(opened))
    best: dict[tuple[str, str], dict[str, str]] = {}
    for model in models:
        parameters, tokens = float(model["params"]), float(model["tokens"] or 0)
        size = "400M" if 3e8 < parameters < 6e8 else "1B" if 1e9 < parameters < 2e9 else None
        scores = [name for name in SCORES if name in model]
        if size is None or not 7e9 < tokens < 4e10 or not all(model[name] for name in scores):
            continue
        key = size, model["Dataset"]
        if key not in best or tokens < float(best[key]["tokens"]):
            best[key] = model
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.csv"
        with open(path, "w", newline="", encoding="utf-8") as opened:
            writer = csv.writer(opened)
            writer.writerow(["size", "recipe", "test_set", "loss"])
            for (size, recipe), model in best.items():
                writer.writerows([size, recipe, name, 1 - float(model[name])] for name in SCORES if name in model)
        return read_losses([path], LossColumns())


if __name__ == "__main__":
    main()
