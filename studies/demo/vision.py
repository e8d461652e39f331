"""The vision demo's data: scikit-learn's handwritten digits, a tenth of the training labels flipped."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float
from PIL import Image
from scipy.stats import rankdata
from sklearn.datasets import load_digits

from thresher.artifacts import atomic_file
from thresher.seeds import numpy_rng
from thresher.studies.report.content import NoisyLabels

FLIPPED = 0.1
NUM_POOL = 1000


def write_vision_demo(folder: Path, *, seed: int) -> None:
    """`pool.parquet` (id, image, label, flipped) and `target.parquet` (clean) in `folder`; images as PNG bytes."""
    images, classes = load_digits(return_X_y=True)
    images = np.asarray(images).reshape(-1, 8, 8)
    classes = np.asarray(classes)
    order = numpy_rng(seed, "digits").permutation(len(classes))
    pool, target = order[:NUM_POOL], order[NUM_POOL:]
    rng = numpy_rng(seed, "flips")
    flipped = rng.random(len(pool)) < FLIPPED
    labels = classes[pool] + flipped * rng.integers(1, 10, len(pool))
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "pool.parquet", images[pool], labels % 10, pool, flipped)
    _write(
        folder / "target.parquet",
        images[target],
        classes[target],
        target,
        np.zeros(len(target), dtype=bool),
    )


def flips_found(pool_file: Path, ids: Sequence[str], scores: Float[np.ndarray, "n"], *, seed: int) -> NoisyLabels:
    """How well low scores point at the flipped labels: the area under the ROC curve, with a 95 % bootstrap interval."""
    table = pq.read_table(pool_file, columns=["id", "flipped"])
    flipped = dict(zip(table["id"].to_pylist(), table["flipped"].to_pylist(), strict=True))
    truth = np.array([flipped[id] for id in ids])
    rng = numpy_rng(seed, "bootstrap")
    draws = [rng.integers(0, len(truth), len(truth)) for _ in range(500)]
    low, high = np.quantile([_auc(truth[draw], scores[draw]) for draw in draws], [0.025, 0.975])
    return NoisyLabels(
        auc=_auc(truth, scores),
        low=float(low),
        high=float(high),
        num_noisy=int(truth.sum()),
        num_examples=len(truth),
        seeds=[seed],
    )


def _auc(truth: np.ndarray, scores: np.ndarray) -> float:
    """The chance that a flipped label scores below a right one (Mann-Whitney)."""
    ranks = rankdata(-scores)
    num_flipped = int(truth.sum())
    return float(
        (ranks[truth].sum() - num_flipped * (num_flipped + 1) / 2) / (num_flipped * (len(truth) - num_flipped))
    )


def _write(path: Path, images: np.ndarray, labels: np.ndarray, ids: np.ndarray, flipped: np.ndarray) -> None:
    pictures = [{"bytes": _png(image), "path": None} for image in images]
    columns = {"id": [f"digit-{id}" for id in ids], "image": pictures, "label": labels, "flipped": flipped}
    with atomic_file(path) as file:
        pq.write_table(pa.table(columns), file)


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((image * (255 / 16)).astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()
