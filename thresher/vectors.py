"""Unit vectors, their clusters and nearest neighbours, by FAISS."""

import importlib
from types import ModuleType

import numpy as np
from jaxtyping import Float, Int

from thresher.errors import InputError

ROUNDS = 20


def directions(
    rows: Float[np.ndarray, "n d"], centre: Float[np.ndarray, "d"] | float = 0.0
) -> Float[np.ndarray, "n d"]:
    """The rows less `centre`, each scaled to length 1, float32; a row of zeros stays one.

    Hidden states of one model share a large common part, which makes any two look alike; around the pool's mean,
    cosines tell examples apart.
    """
    moved = np.asarray(rows, dtype=np.float32) - np.asarray(centre, dtype=np.float32)
    norms = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.ascontiguousarray(moved / np.where(norms > 0, norms, 1))


def clusters(
    vectors: Float[np.ndarray, "m d"], num: int, seed: int
) -> tuple[Int[np.ndarray, "m"], Float[np.ndarray, "m"]]:
    """Spherical k-means: the cluster of each unit vector and its cosine with that cluster's centre."""
    # FAISS draws its own sample and start; the rest would only warn on stderr about few points a cluster.
    options = {"niter": ROUNDS, "seed": seed % 2**31, "spherical": True, "min_points_per_centroid": 1}
    kmeans = load_faiss("clustering").Kmeans(vectors.shape[1], num, **options)
    kmeans.train(vectors)
    cosines, labels = kmeans.index.search(vectors, 1)
    return labels[:, 0], cosines[:, 0]


def nearest(queries: Float[np.ndarray, "m d"], among: Float[np.ndarray, "t d"], num: int) -> Float[np.ndarray, "m num"]:
    """The `num` largest inner products of each query, exactly, largest first."""
    index = load_faiss("a search for neighbours").IndexFlatIP(among.shape[1])
    index.add(among)
    return index.search(queries, num)[0]


def load_faiss(use: str) -> ModuleType:
    """The module faiss, which comes in two builds and so is an optional extra.

    Raises InputError, which names the `use`, where it is not installed.
    """
    try:
        return importlib.import_module("faiss")
    except ImportError:
        raise InputError(f"{use} needs FAISS; pip install 'thresher[cpu]', or 'thresher[gpu]' on a GPU") from None
