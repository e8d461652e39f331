"""A planted pool for selectors: two kinds of text, a target of one kind, vectors and scores that go with them."""

import numpy as np

from thresher.selection.evidence import Evidence

NUM = 90
TARGET_LIKE = np.arange(NUM) % 3 == 0
WORDS = {True: [f"query{i}" for i in range(60)], False: [f"prose{i}" for i in range(60)]}


def texts(rng: np.random.Generator, kinds, length: int = 30) -> list[str]:
    return [" ".join(rng.choice(WORDS[bool(kind)], length)) for kind in kinds]


def vectors(rng: np.random.Generator, kinds, dim: int = 7) -> np.ndarray:
    """Two clouds far apart."""
    return rng.normal(size=(len(kinds), dim)) + 6 * np.asarray(kinds)[:, None] * np.eye(dim)[0]


def facts(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(NUM, 11))
    return {
        "scores": {"squad": TARGET_LIKE + rng.normal(size=NUM), "gsm8k": TARGET_LIKE + rng.normal(size=NUM)},
        "loss": rng.normal(size=NUM),
        "gradient_norms": rng.random(NUM),
        "gradient_cosines": {"squad": rng.random(NUM)},
        "features": features / np.linalg.norm(features, axis=1, keepdims=True),
        "embeddings": vectors(rng, TARGET_LIKE),
        "target_embeddings": {"squad": vectors(rng, np.ones(13)), "gsm8k": vectors(rng, np.ones(5))},
        "texts": texts(rng, TARGET_LIKE),
        "target_texts": {"squad": texts(rng, np.ones(13), 12), "gsm8k": texts(rng, np.ones(5), 12)},
        "lengths": 5 + np.arange(NUM) % 7,
    }


def evidence(seed: int = 0, order: np.ndarray | None = None, **changed) -> Evidence:
    """The planted pool, `order` another order of it; `changed` replaces facts (None: leaves one out)."""
    order = np.arange(NUM) if order is None else order
    made = {**facts(), **changed}
    for name, value in made.items():
        if value is None or name.startswith("target_"):
            continue
        if isinstance(value, dict):
            made[name] = {target: rows[order] for target, rows in value.items()}
        else:
            made[name] = [value[row] for row in order] if isinstance(value, list) else value[order]
    ids = [f"e{row:03d}" for row in order]
    domains = [("web", "law", "code", "web")[row % 4] for row in order]
    return Evidence(ids, domains, seed=seed, **made)
