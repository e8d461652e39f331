"""The loop on text, in Python: score a pool for a target, keep the best fifth, prove it on a larger model.

    python examples/text.py FOLDER

makes a small corpus in FOLDER and runs on it; with your own data, change `pool` and `target`.
"""

import json
import random
import sys
from pathlib import Path

from thresher.selection.selection import open_selection
from thresher.studies.loop import run_study
from thresher.studies.study import (
    AttributionTable,
    PoolTable,
    ProxyTable,
    ReferenceTable,
    SelectTable,
    Study,
    TargetTable,
)
from thresher.workspace import Workspace

RECIPES = "boil the rice with salt then stir the soup and bake the bread in a hot oven with butter".split()
VOYAGES = "the wind fills the sail and the boat turns while the crew pulls the rope over the deck".split()


def write_corpus(path: Path, num_recipes: int, num_voyages: int, seed: int) -> str:
    draw = random.Random(seed)
    kinds = [("recipe", RECIPES)] * num_recipes + [("voyage", VOYAGES)] * num_voyages
    rows = [{"text": " ".join(draw.choices(words, k=60)), "kind": kind} for kind, words in kinds]
    draw.shuffle(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def main(folder: Path) -> dict[str, float]:
    folder.mkdir(parents=True, exist_ok=True)
    study = Study(
        name="recipes",
        vocab_size=300,
        sequence_length=32,
        pool=PoolTable(data=write_corpus(folder / "pool.jsonl", 40, 160, seed=0), domain="kind"),
        target={"cooking": TargetTable(data=write_corpus(folder / "target.jsonl", 40, 0, seed=1))},
        proxy=ProxyTable(size="20k", count=2, epochs=3),
        reference=ReferenceTable(size="0.2M", epochs=4, seeds=3),
        attribution=AttributionTable(k=64),
        select=SelectTable(fraction=0.2),
    )
    result = run_study(study, Workspace(folder / "run"))  # run it again: everything is there already

    selection = open_selection(result.selections["dsdm"].path)
    print("kept, best first:", selection.kept["id"].to_pylist()[:5])
    print("share of recipes:", selection.artifact.facts["domain_shares"]["recipe"])
    differences = {row["arm"]: row for row in result.validation.facts["paired"] if row["task"] == "cooking"}
    for arm, row in differences.items():
        print(f"{arm} minus random: {row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}], n={row['n']}")
    return {arm: row["mean"] for arm, row in differences.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example-text"))
