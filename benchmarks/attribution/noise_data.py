"""Pools with wrong labels that are known to be wrong, and clean targets, as `noise` needs them.

CIFAR-10N: labels by people, `noisy_aggre` (9 % wrong) and `noisy_worse` (40 %), of random training images of CIFAR-10;
the target is test images with their own labels. Text: snippets of a few words out of documents of some domains, which
are the classes; a quarter of the pool's labels is wrong, each drawn from the other classes evenly (`random`) or as a
TF-IDF classifier confuses them (`confusion`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from benchmarks.command import thresher

FOLDS = 5
WRONG = 0.25


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a pool and its target are drawn from, how many, and how labels are made wrong."""

    kind: str
    """noisy_aggre or noisy_worse (CIFAR-10N); random or confusion (text)."""
    pool: int
    target: int
    pixels: int = 32
    domains: tuple[str, ...] = ()
    characters: int = 66


def build(source: Source, data: Path, folder: Path, seed: int) -> None:
    """Under `folder`: prepared `pool` and `target`, and `truth.npz` (by id: given and true label of the pool)."""
    if (folder / "truth.npz").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    (_text if source.domains else _cifar)(source, data, folder, rng)


def _cifar(source: Source, data: Path, folder: Path, rng: np.random.Generator) -> None:
    truth = {}
    for name, file, size in (("pool", "train", source.pool), ("target", "test", source.target)):
        table = pq.read_table(data / "cifar10" / f"{file}.parquet")
        table = table.take(np.sort(rng.choice(len(table), size, replace=False)))
        given = table[source.kind if name == "pool" else "label"]
        if name == "pool":
            truth = {"id": table["index"].to_numpy().astype(str), "given": given.to_numpy(), "true": table["label"]}
        columns = {"image": table["image"], "label": given, "index": table["index"]}
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
        made = ["--data", str(folder / f"{name}.parquet"), "--id", "index", "--out", str(folder / name)]
        _run("prepare", "--task", "vision", "--size", source.pixels, *made, "--classes", *map(str, range(10)))
    np.savez(folder / "truth.npz", **truth)


def _text(source: Source, data: Path, folder: Path, rng: np.random.Generator) -> None:
    texts, classes = _snippets(source, data, rng)
    pool, given = texts[: source.pool], _wrong(source.kind, texts[: source.pool], classes[: source.pool], rng)
    labels = {"pool": given, "target": classes[source.pool :]}
    for name, own in (("pool", pool), ("target", texts[source.pool :])):
        rows = [
            {"id": f"{name}-{i}", "text": text, "class": source.domains[label]}
            for i, (text, label) in enumerate(zip(own, labels[name], strict=True))
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        tokenizer = ["--vocab-size", 1024] if name == "pool" else ["--tokenizer", folder / "pool-tokenizer"]
        shape = ["--classify", "class", "--classes", *source.domains, "--id", "id", "--sequence-length", 64]
        _run("prepare", "--data", folder / f"{name}.jsonl", *shape, *tokenizer, "--out", folder / name)
    ids = np.array([f"pool-{i}" for i in range(source.pool)])
    np.savez(folder / "truth.npz", id=ids, given=given, true=classes[: source.pool], text=np.array(pool))


def _snippets(source: Source, data: Path, rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    """As many of each domain, in random order, each from a random place of a document."""
    table = pq.read_table(data / "corpus" / "documents.parquet", columns=["text", "domain"])
    texts, domains = table["text"].to_pylist(), np.array(table["domain"].to_pylist())
    size, found, classes = source.characters, [], []
    for number, domain in enumerate(source.domains):
        long = [texts[i] for i in np.flatnonzero(domains == domain) if len(texts[i]) > size + 50]
        for position in rng.integers(len(long), size=-(-(source.pool + source.target) // len(source.domains))):
            document = long[position]
            start = document.find(" ", rng.integers(len(document) - size)) + 1
            found.append(" ".join(document[start : start + size].split()) or domain)
            classes.append(number)
    order = rng.permutation(len(found))[: source.pool + source.target]
    return [found[i] for i in order], np.array(classes)[order]


def _wrong(kind: str, texts: Sequence[str], classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The labels as they are given: a quarter of them wrong."""
    chances = np.ones((classes.max() + 1, classes.max() + 1))
    if kind == "confusion":
        predicted = tfidf_out_of_fold(texts, classes)
        chances = np.stack([predicted[classes == c].mean(axis=0) for c in range(len(chances))])
    np.fill_diagonal(chances, 0)
    chances /= chances.sum(axis=1, keepdims=True)
    other = np.array([rng.choice(len(chances), p=chances[c]) for c in classes])
    return np.where(rng.random(len(classes)) < WRONG, other, classes)


def tfidf_out_of_fold(texts: Sequence[str], labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Probabilities [n, classes] of TF-IDF and logistic regression that did not see the example."""
    found = np.zeros((len(labels), labels.max() + 1))
    for train, held in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(found, labels):
        words = TfidfVectorizer(sublinear_tf=True)
        model = LogisticRegression(max_iter=300).fit(words.fit_transform([texts[i] for i in train]), labels[train])
        found[held] = model.predict_proba(words.transform([texts[i] for i in held]))
    return found


def _run(*arguments: object) -> None:
    if thresher([*map(str, arguments), "--quiet"]):
        raise SystemExit(2)
