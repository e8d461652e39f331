"""All scorers on one ground: LDS of single targets and of averaged ones, seconds, memory, and what it costs in passes.

    python -m benchmarks.attribution.leaderboard [--only language language-2 cifar] [--checkpoints 5] [--json FILE]

`lds`        the mean over target examples, with its interval over subsets and targets, and the paired difference to
             BM25 (text) or to the cosine of embeddings (images)
`relative`   the same without the level of each retraining (`thresher.attribution.without_level`)
`averaged`   the same of groups of targets (domains, classes), whose scores and margins are averaged first: what a
             selection asks
`seconds`    of all checkpoints, pool and targets together, and in plain forward and backward passes over the pool under
             each; `memory` the most that the process held above what it held before

One process a scorer, so that memory is its own; scorers that are in FILE already are not run again. Combinations are
the mean of scores in units of their spread.
"""

import multiprocessing
import resource
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.attribution.grounds import RUNS, SETTINGS, Ground, asked, ground_of, keep
from benchmarks.attribution.peers.common import ROOT
from thresher.attribution import lds_table, level_share, predict_outputs, without_level
from thresher.proxies import loaders_of
from thresher.studies import Attribution, Basis, pairs_by

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "trak": ("trak", {}),
    "trak, two-sided k = 512": ("trak", {"projection": "two-sided", "k": 512}),
    "exact kernel": ("dual", {}),
    "ekfac": ("ekfac", {}),
    "ekfac, linear and convolutions alone": ("ekfac", {"parameters": r"(c_attn|c_proj|c_fc|conv|linear|fc)\S*weight"}),
    "trackstar": ("trackstar", {}),
    "grad-cosine": ("grad-cosine", {}),
    "embedding": ("embedding", {}),
    "bm25": ("bm25", {}),
    "random": ("random", {}),
}
COMBINED = {
    "exact kernel + bm25": ("exact kernel", "bm25"),
    "ekfac + bm25": ("ekfac", "bm25"),
    "ekfac + exact kernel": ("ekfac", "exact kernel"),
    "ekfac + embedding": ("ekfac", "embedding"),
}


def main() -> None:
    arguments, results = asked(__doc__, SETTINGS, only=["language", "language-2", "cifar"], checkpoints=5)
    for name in arguments.only:
        ground = ground_of(name, arguments.data, arguments.checkpoints)
        costs = results.setdefault(name, {}).setdefault("costs", {})
        scores = {}
        for row, (scorer, options) in ROWS.items():
            if scorer == "bm25" and not ground.setting.data.startswith("text"):
                continue
            scores[row] = _scores(name, row, scorer, options, arguments, costs)
            keep(arguments, results)
        results[name] |= judge(ground, scores) | {"costs": costs, "date": time.strftime("%Y-%m-%d")}
        results[name]["checkpoints"] = arguments.checkpoints
        for row, found in results[name]["lds"].items():
            cost = costs.get(row, {})
            apart = results[name]["lds_relative"][row]
            print(f"{name:12} {row:38} {_text(found)}  relative {_text(apart)}  "
                  f"{cost.get('seconds', 0):7.1f} s  {cost.get('passes', 0):6.1f} passes", flush=True)  # fmt: skip
        keep(arguments, results)


def judge(ground: Ground, scores: dict[str, np.ndarray]) -> dict[str, Any]:
    """LDS of every row and combination, on single targets and on averages of groups."""
    scores |= {
        row: sum(_standardised(scores[part]) for part in parts)
        for row, parts in COMBINED.items()
        if all(part in scores for part in parts)
    }
    baseline = "bm25" if "bm25" in scores else "embedding"
    groups, member = np.unique(np.asarray(ground.target.domains, dtype=str), return_inverse=True)
    if len(groups) == 1:
        groups, member = np.unique(np.asarray(ground.target.labels), return_inverse=True)
    mixing = (member[:, None] == np.arange(len(groups))) / np.bincount(member)
    found = {}
    for name, weights in (("lds", np.eye(len(member))), ("averaged", mixing)):
        predicted = {row: predict_outputs([(0, values @ weights)], ground.subsets) for row, values in scores.items()}
        outputs = ground.outputs @ weights
        apart = {row: without_level(values) for row, values in predicted.items()}
        for kind, table in (
            (name, lds_table(predicted, outputs, baseline=baseline, num_resamples=200)),
            (f"{name}_relative", lds_table(apart, without_level(outputs), baseline=baseline, num_resamples=200)),
        ):
            found[kind] = {row: {key: asdict(value) for key, value in own.items()} for row, own in table.items()}
    found |= {"baseline": baseline, "num_groups": len(groups), "num_subsets": len(ground.subsets)}
    return found | {"level_share": level_share(ground.outputs)}


def _scores(name: str, row: str, scorer: str, options: dict, arguments, costs: dict) -> np.ndarray:
    """[n, t], made in a process of its own once and kept under runs/leaderboard."""
    file = ROOT / "runs" / "leaderboard" / f"{name}-{arguments.checkpoints}-{row.replace(' ', '-')}.npy"
    if row not in costs or not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            costs[row] = pool.apply(_made, (name, scorer, options, arguments.data, arguments.checkpoints, file))
    return np.load(file)


def _made(name: str, scorer: str, options: dict, data: Path, num_checkpoints: int, file: Path) -> dict[str, float]:
    ground = ground_of(name, data, num_checkpoints)
    workspace = type(ground.workspace)(RUNS.with_name("leaderboard") / "work" / str(time.time_ns()), "cpu")
    basis = Basis(ground.models, ground.pool, Attribution(memory_gb=8.0, **options), workspace)
    a_pass = _seconds_of_a_pass(ground)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    blocks = [block for _, block in pairs_by(scorer, basis, ground.target)]
    seconds = time.perf_counter() - start
    np.save(file, np.concatenate(blocks).astype(np.float32))
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6
    passes = seconds / a_pass / num_checkpoints
    return {"seconds": round(seconds, 1), "passes": round(passes, 2), "memory_gb": round(max(memory, 0), 2)}


def _seconds_of_a_pass(ground: Ground, share: float = 0.1) -> float:
    """A plain forward and backward pass over the pool, from a tenth of it."""
    from thresher.outputs import logits_of, outputs_of

    model = loaders_of([str(ground.models[0])], ground.pool)[0][1]()
    some = np.arange(0, len(ground.pool), round(1 / share))
    size = 16 if ground.setting.data.startswith("text") else 64
    for _ in range(2):  # the first warms up
        start = time.perf_counter()
        for low in range(0, len(some), size):
            batch = ground.pool.batch(some[low : low + size])
            loss = outputs_of(logits_of(model, batch), batch["labels"]).loss.mean()
            torch.autograd.grad(loss, list(model.parameters()))
    return (time.perf_counter() - start) * len(ground.pool) / len(some)


def _standardised(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.mean(axis=0)) / np.maximum(scores.std(axis=0), 1e-12)


def _text(row: dict) -> str:
    own, more = row["lds"], row.get("difference")
    text = f"{own['mean']:.3f} [{own['low']:.3f}, {own['high']:.3f}]"
    return text + (f" ({more['mean']:+.3f} [{more['low']:+.3f}, {more['high']:+.3f}])" if more else "")


if __name__ == "__main__":
    main()
