"""The loop on text, in Python: score a pool for a target, keep the best fifth, prove it on a larger model.

    python examples/text.py FOLDER

makes a small corpus in FOLDER and runs on it; with your own data, change `pool` and `target`.
"""

import json
import random
import sys
from pathlib import Path

import thresher

RECIPES = "boil the rice with salt then stir the soup and bake the bread in a hot oven with butter".split()
VOYAGES = "the wind fills the sail and the boat turns while the crew pulls the rope over the deck".split()
STUDY = """
name = "recipes"
vocab_size = 300
sequence_length = 32
pool = {data = "pool.jsonl", domain = "kind"}
target.cooking = {data = "target.jsonl"}
proxy = {size = "20k", count = 2, epochs = 3}
reference = {size = "0.2M", epochs = 4, seeds = 3}
attribution = {k = 64}
select = {fraction = 0.2}
"""


def write_corpus(path: Path, num_recipes: int, num_voyages: int, seed: int) -> None:
    draw = random.Random(seed)
    kinds = [("recipe", RECIPES)] * num_recipes + [("voyage", VOYAGES)] * num_voyages
    rows = [{"text": " ".join(draw.choices(words, k=60)), "kind": kind} for kind, words in kinds]
    draw.shuffle(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main(folder: Path) -> dict[str, float]:
    folder.mkdir(parents=True, exist_ok=True)
    write_corpus(folder / "pool.jsonl", 40, 160, seed=0)
    write_corpus(folder / "target.jsonl", 40, 0, seed=1)
    (folder / "study.toml").write_text(STUDY)
    study = thresher.read_study(folder / "study.toml")
    result = thresher.run_study(study, thresher.Workspace(folder / "run"))  # run it again: everything is there already

    selection = thresher.open(result.selections["dsdm"][0])
    print("kept, best first:", selection.ids[:5])
    print("share of recipes:", selection.facts["domain_shares"]["recipe"])
    differences = thresher.open(result.validation).differences()
    differences = differences[differences["task"] == "cooking"].set_index("arm")
    for arm, row in differences.iterrows():
        print(f"{arm} minus random: {row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}], n={row['n']}")
    return differences["mean"].to_dict()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example-text"))
