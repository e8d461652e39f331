"""What the leaderboard compares, and its scores: each made once, in a process of its own, and what that took."""

import multiprocessing
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.attribution.grounds import Ground, ground_of, models_of_halves
from benchmarks.attribution.peers.common import ROOT, THREADS, Job
from benchmarks.attribution.peers.environments import NotInstalled
from benchmarks.attribution.peers.launch import Failed, run_job
from thresher.proxies import loaders_of
from thresher.studies import Attribution, Basis, in_units_of_spread, pairs_by
from thresher.workspace import Workspace

FOLDER = ROOT / "runs" / "leaderboard"
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "trak": ("trak", {}),
    "trak, two-sided k = 512": ("trak", {"projection": "two-sided", "k": 512}),
    "trak, sjlt k = 2048": ("trak", {"projection": "sjlt", "k": 2048}),
    "exact kernel": ("dual", {}),
    "ekfac": ("ekfac", {}),
    "ekfac, 512 examples in its factors": ("ekfac", {"sample": 512}),
    "ekfac, linear and convolutions alone": ("ekfac", {"parameters": r"(c_attn|c_proj|c_fc|conv|linear|fc)\S*weight"}),
    "ekfac-cg, 16 directions": ("ekfac-cg", {"rank": 16, "steps": 8}),
    "trackstar": ("trackstar", {}),
    "grad-cosine": ("grad-cosine", {}),
    "embedding": ("embedding", {}),
    "bm25": ("bm25", {}),
    "random": ("random", {}),
}
OF_TEXT = ("bm25", "ekfac, linear and convolutions alone")
"""Rows of texts alone: images have no words, and all their layers are linear or convolutions but for norms."""
VIEWED: dict[str, tuple[str, dict[str, Any]]] = {
    "ekfac, 256 examples in its factors": ("ekfac", {"sample": 256}),
    "trak, flip": ("trak", {"views": ("flip",)}),
    "trak, flip + shift": ("trak", {"views": ("flip", "shift")}),
    "ekfac, 512 examples in its factors, flip": ("ekfac", {"sample": 512, "views": ("flip",)}),
}
"""Rows of images alone."""
HALVED: dict[str, tuple[str, dict[str, Any]]] = {
    "ekfac, halves": ("ekfac", {"sample": 512}),
    "ekfac, halves, damping .01": ("ekfac", {"sample": 512, "curvature_damping": 0.01}),
}
"""Rows under models of which each was trained on a random half of the pool."""
COMBINED = {
    "exact kernel + bm25": ("exact kernel", "bm25"),
    "ekfac + bm25": ("ekfac", "bm25"),
    "ekfac + half of bm25": ("ekfac", "ekfac", "bm25"),
    "ekfac, halves + bm25": ("ekfac, halves", "bm25"),
    "ekfac + exact kernel": ("ekfac", "exact kernel"),
    "ekfac + exact kernel + bm25": ("ekfac", "exact kernel", "bm25"),
    "ekfac, halves + exact kernel": ("ekfac, halves", "exact kernel"),
    "ekfac + trak, flip + shift": ("ekfac", "trak, flip + shift"),
    "ekfac, halves, damping .01 + trak, flip + shift": ("ekfac, halves, damping .01", "trak, flip + shift"),
    "ekfac + ekfac, flip": ("ekfac, 512 examples in its factors", "ekfac, 512 examples in its factors, flip"),
    "ekfac + trak, flip": ("ekfac", "trak, flip"),
    "ekfac + ekfac, flip + trak, flip": (
        "ekfac, 512 examples in its factors",
        "ekfac, 512 examples in its factors, flip",
        "trak, flip",
    ),
}
"""Means of scores in units of their spread over the pool."""
PEERS = {True: ("traker", "bergson"), False: ("traker", "dattri", "kronfluence")}
"""The packages that read texts, and those that read images."""


def rows_of(ground: Ground) -> dict[str, tuple[str, dict[str, Any]]]:
    """Our rows on a ground."""
    own = ROWS if ground.setting.is_text else {row: made for row, made in ROWS.items() if row not in OF_TEXT} | VIEWED
    return own | HALVED


def scores_of(name: str, row: str, data: Path, num_checkpoints: int, costs: dict) -> np.ndarray:
    """Scores of a row of ours, [n, t]. What they took goes into `costs`."""
    file = FOLDER / f"{name}-{num_checkpoints}-{row.replace(' ', '-')}.npy"
    if row not in costs or not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            made = (name, *(ROWS | VIEWED | HALVED)[row], data, num_checkpoints, row in HALVED, file)
            costs[row] = pool.apply(_made, made)
    return np.load(file)


def scores_of_peer(name: str, peer: str, ground: Ground, costs: dict) -> dict[str, np.ndarray]:
    """Scores by another package on the same checkpoints, [n, t] each; none where it fails, and `costs` says why."""
    folder = FOLDER / f"{name}-{len(ground.models)}-{peer}"
    if peer not in costs:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        parts = {"pool": ground.pool, "targets": ground.target}
        paths = {part: str(examples.artifact.path.resolve()) for part, examples in parts.items()}
        models = tuple(str(model.resolve()) for model in ground.models)
        try:
            done = run_job(Job(peer=peer, mode="scores", models=models, out=str(folder), **paths))
        except (Failed, NotInstalled) as error:
            costs[peer] = {"error": str(error).splitlines()[-1]}
        else:
            passes = done.seconds / _seconds_of_a_pass(ground) / len(models)
            costs[peer] = {"seconds": round(done.seconds, 1), "passes": round(passes, 2)}
            costs[peer] |= {"process_gb": round(done.peak_mb / 1e3, 2)}
    found = {file.stem: np.load(file) for file in sorted(folder.glob("*.npy"))}
    return {row: values for row, values in found.items() if np.isfinite(values).all()}


def combined(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The combinations whose parts are there."""
    return {
        row: sum(in_units_of_spread(scores[part]) for part in parts)
        for row, parts in COMBINED.items()
        if all(part in scores for part in parts)
    }


def _made(
    name: str, scorer: str, options: dict, data: Path, num_checkpoints: int, of_halves: bool, file: Path
) -> dict[str, float]:
    torch.set_num_threads(THREADS)
    ground = ground_of(name, data, num_checkpoints)
    folder = FOLDER / "work" / str(time.time_ns())
    models = models_of_halves(ground) if of_halves else ground.models
    basis = Basis(models, ground.pool, Attribution(memory_gb=8.0, **options), Workspace(folder, "cpu"))
    a_pass = _seconds_of_a_pass(ground)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    blocks = [block for _, block in pairs_by(scorer, basis, ground.target)]
    seconds = time.perf_counter() - start
    np.save(file, np.concatenate(blocks).astype(np.float32))
    shutil.rmtree(folder, ignore_errors=True)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6
    passes = seconds / a_pass / num_checkpoints
    return {"seconds": round(seconds, 1), "passes": round(passes, 2), "memory_gb": round(max(memory, 0), 2)}


def _seconds_of_a_pass(ground: Ground, share: float = 0.1) -> float:
    """A plain forward and backward pass over the pool, from a tenth of it."""
    from thresher.outputs import logits_of, outputs_of

    torch.set_num_threads(THREADS)
    model = loaders_of([str(ground.models[0])], ground.pool)[0][1]()
    some = np.arange(0, len(ground.pool), round(1 / share))
    size = 16 if ground.setting.is_text else 64
    for _ in range(2):  # the first warms up
        start = time.perf_counter()
        for low in range(0, len(some), size):
            batch = ground.pool.batch(some[low : low + size])
            loss = outputs_of(logits_of(model, batch), batch["labels"]).loss.mean()
            torch.autograd.grad(loss, list(model.parameters()))
    return (time.perf_counter() - start) * len(ground.pool) / len(some)
