"""Subjects of explorers: hostile text under two proxies, labelled pictures with wrong labels, and 10,000 documents."""

import json
import random
from dataclasses import asdict
from pathlib import Path

import numpy as np

import thresher
from tests.toy_corpus import WORDS
from thresher.artifacts import build, open_artifact
from thresher.attribution.features.store import open_features
from thresher.attribution.quality.lds import Estimate
from thresher.data.examples import open_examples
from thresher.selection.selection import open_selection
from thresher.studies.explorer.subject import Subject

HOSTILE = '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">'
UNSEEN = "\u202eturned\u202c \u2066isolated\u2069 \x1b[31mred\x07"
COMMANDS = {"select": "thresher select --scores scores --out subset", "serve": "thresher explore scores --serve"}


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def hostile_text(folder: Path) -> Subject:
    """90 documents in three hostile domains, two of them the same; 8 prompts as target; two proxies and a selection."""
    draw, domains = random.Random(0), [f"{name}{HOSTILE}" for name in WORDS]
    rows = []
    for number in range(90):
        words = draw.choices(list(WORDS.values())[number % 3].split(), k=30)
        text = f"{number}  begins\n\n    with {UNSEEN if number % 7 == 0 else 'space'}\t" + " ".join(words)
        rows.append(
            {"id": f"{HOSTILE}{number}", "text": text + HOSTILE * (number % 5 == 0), "source": domains[number % 3]}
        )
    rows[4]["text"] = rows[7]["text"].upper()
    rows[8]["id"] = "=formula,with\nbreak"
    pool = thresher.prepare(
        write_rows(folder / "pool.jsonl", rows), out=folder / "pool", id="id", domain="source", vocab_size=400,
        sequence_length=64,
    )  # fmt: skip
    targets = [{"id": f"<b>t{n}", "q": f"what of {HOSTILE} {n}?", "a": f"boil the rice {n}"} for n in range(8)]
    target = thresher.prepare(
        write_rows(folder / "target.jsonl", targets), out=folder / "target", id="id", prompt="q", continuation="a",
        tokenizer=str(folder / "pool-tokenizer"), sequence_length=64,
    )  # fmt: skip
    models = [thresher.train("20k", pool, out=folder / f"proxy{m}", fraction=0.5, seed=m, epochs=1.0) for m in (0, 1)]
    features = thresher.featurize(models, pool, out=folder / "features", k=32)
    target_features = thresher.featurize(models, target, out=folder / "target-features", k=32)
    scores = thresher.score(features, {"<i>cooks": target_features}, out=folder / "scores")
    selection = thresher.select(scores, count=30, out=folder / "subset")
    return Subject(
        scores=scores.artifact,
        pool=open_examples(pool.path),
        targets={"<i>cooks": open_examples(target.path)},
        selection=open_selection(selection.path),
        features=open_features(features.path),
        target_features={"<i>cooks": open_features(target_features.path)},
        lds=measured(folder / "lds", {"trak": 0.25, "random": 0.0}, 90),
        title=f"Study {HOSTILE}",
        commands=COMMANDS,
    )


def pictures(folder: Path) -> Subject:
    """60 bright and dark pictures, six of them with the wrong label, scored for 10 right ones and themselves."""
    draw = np.random.default_rng(0)

    def images(count: int, flips: int, name: str) -> list:
        labels = np.arange(count) % 2
        pixels = (draw.integers(0, 60, (count, 6, 6, 1)) + 180 * labels[:, None, None, None]).astype(np.uint8)
        given = np.where(np.arange(count) < flips, 1 - labels, labels)
        return [
            (f"{name}-{i}", image, ["dark", "bright"][y])
            for i, (image, y) in enumerate(zip(pixels, given, strict=True))
        ]

    pool = thresher.prepare(images(60, 6, "p"), out=folder / "pool")
    target = thresher.prepare(images(10, 0, "t"), out=folder / "target", classes=pool.facts["classes"])
    settings = {"epochs": 6.0, "batch_size": 8, "learning_rate": 0.05}
    models = [thresher.train("mlp-4x1", pool, out=folder / f"proxy{m}", seed=m, **settings) for m in (0, 1)]
    scores = thresher.score(
        pool, {"t": target, "u": target}, models=models, out=folder / "scores", scorer="dual", top=3
    )
    return Subject(
        scores=scores.artifact,
        pool=open_examples(pool.path),
        targets={"t": open_examples(target.path), "u": open_examples(target.path)},
        models=[str(model.path) for model in models],
        commands=COMMANDS,
    )


def many(folder: Path, count: int = 10_000) -> Subject:
    """Documents of about 450 characters and a score of every pair with 20 target examples."""
    draw = np.random.default_rng(0)
    words = np.array(" ".join(WORDS.values()).split())
    rows = [
        {"id": f"doc-{n:05d}", "text": f"{n} " + " ".join(draw.choice(words, 90)), "source": f"domain {n % 12}"}
        for n in range(count)
    ]
    pool = thresher.prepare(
        write_rows(folder / "pool.jsonl", rows), out=folder / "pool", id="id", domain="source", vocab_size=400,
        sequence_length=128,
    )  # fmt: skip
    targets = [{"id": f"t{n}", "text": " ".join(draw.choice(words, 20))} for n in range(20)]
    target = thresher.prepare(
        write_rows(folder / "target.jsonl", targets), out=folder / "target", id="id",
        tokenizer=str(folder / "pool-tokenizer"), sequence_length=128,
    )  # fmt: skip
    return Subject(
        scores=matrix(folder / "scores", draw.normal(size=(count, 20))),
        pool=open_examples(pool.path),
        targets={"t": open_examples(target.path)},
        commands=COMMANDS,
    )


def measured(out: Path, means: dict[str, float], num_pool: int):
    """The LDS of some scorers, as `thresher lds` leaves it."""
    table = {name: {"lds": asdict(Estimate(v, v - 0.05, v + 0.05))} for name, v in means.items()}
    facts = {"table": table, "num_subsets": 40, "num_targets": 8, "num_pool": num_pool}
    return open_artifact(build(out, kind="lds", config={}, seed=0, inputs={}, write=lambda draft: facts).path)


def long_text(folder: Path) -> Subject:
    """Three documents of 400 lines each."""
    text = "".join(f"line {n} of many\n" for n in range(400)) + "last line"
    rows = [{"id": str(n), "text": f"{n} {text}"} for n in range(3)]
    pool = thresher.prepare(
        write_rows(folder / "pool.jsonl", rows), out=folder / "pool", id="id", vocab_size=300, sequence_length=64
    )
    prepared = open_examples(pool.path)
    return Subject(scores=matrix(folder / "scores", np.eye(3)), pool=prepared, targets={"t": prepared})


def matrix(out: Path, scores: np.ndarray):
    """An attribution of these scores, as `thresher.attribute` leaves it."""

    def write(draft):
        for name, values in {"scores": scores, "spread": np.abs(scores) / 2}.items():
            with draft.file(f"{name}.npy") as file, open(file, "wb") as stream:
                np.save(stream, values.astype(np.float32))
        return {"quality": []}

    config = {"shape": list(scores.shape), "num_checkpoints": 3, "method": "exact"}
    return open_artifact(build(out, kind="attribution", config=config, seed=0, inputs={}, write=write).path)
