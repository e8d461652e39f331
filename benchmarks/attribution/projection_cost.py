"""What a projection costs: LDS against its kind, k and the task, beside the exact kernel of the same gradients.

    python -m benchmarks.attribution.projection_cost [--only language language-2 cifar] [--checkpoints 5] [--json FILE]

Each model's gradients are read once, whole: from them
the exact kernel and every projection are made, so cells differ in nothing else. A sketch to fewer numbers is the
largest one folded, which is a sketch of the same kind. Per checkpoint and model this takes 2 numbers x gradients of
memory in bfloat16, 2 GB here, and what was made is kept under runs/projection-cost.

For each cell: the LDS with its interval and ratio to the exact kernel's (paired), the correlation over the pool of its
scores with the exact ones, and what halves of the features told of that (`attribution/scoring/reliability.py`).
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.attribution.grounds import SETTINGS, asked, ground_of, keep
from benchmarks.attribution.peers.common import ROOT
from thresher.attribution import (
    Featurizer,
    Options,
    SumOfSketches,
    agreement_of,
    lds_table,
    make_projector,
    predict_outputs,
    two_sided_blocks,
    usual_damping,
)
from thresher.data import balanced_batches
from thresher.proxies import loaders_of
from thresher.seeds import derive

MADE = ROOT / "runs" / "projection-cost"
SKETCH = 8192
FOLDED = (512, 1024, 2048, 4096, 8192)
TWO_SIDED = (512, 4096)
HALVES = slice(0, None, 2), slice(1, None, 2)
BUDGET = {True: 2048, False: 64}
"""Tokens, or images, in a batch."""
COLUMNS = 2**15
"""Numbers of all gradients in a product at once."""


def main() -> None:
    arguments, results = asked(__doc__, SETTINGS, only=["language", "language-2", "cifar"], checkpoints=5)
    for name in arguments.only:
        results[name] = measure(name, arguments.data, arguments.checkpoints)
        for row in results[name]["rows"]:
            shown = f"{row['lds']['mean']:.3f} [{row['lds']['low']:.3f}, {row['lds']['high']:.3f}]"
            told = "" if row["estimated"] is None else f", estimated {row['estimated']:.3f}"
            print(f"{name:12} {row['scores']:24} LDS {shown}  agreement {row['agreement']:.3f}{told}", flush=True)
        keep(arguments, results)


def measure(name: str, data: Path, num_checkpoints: int) -> dict[str, Any]:
    ground = ground_of(name, data, num_checkpoints)
    pool, target = ground.pool, ground.target
    loaders = loaders_of([str(path) for path in ground.models], pool, target)
    made = [_made(MADE / f"{name}-{m}.pt", loaders[m][1], m, (pool, target)) for m in range(num_checkpoints)]
    num_pool = len(pool)
    doubt = 1 - torch.stack([each["confidence"][:num_pool] for each in made]).double().mean(dim=0).numpy()
    weights = np.sqrt(np.maximum(doubt, 0))[:, None]
    scores: dict[str, np.ndarray] = {
        "exact": weights * np.mean([_exact(each["gram"].double(), num_pool) for each in made], axis=0)
    }
    estimated: dict[str, float] = {}
    for kind, k in [("two-sided", k) for k in TWO_SIDED] + [("sjlt", k) for k in FOLDED]:
        if any(kind not in each or k not in each[kind] for each in made):
            continue
        features = [each[kind][k].double() for each in made]
        label = f"{kind}, k = {k}"
        scores[label] = weights * np.mean([_scores(some, num_pool) for some in features], axis=0)
        halves = [weights * np.mean([_scores(f[:, half], num_pool) for f in features], axis=0) for half in HALVES]
        pairs = zip(halves[0].T, halves[1].T, strict=True)
        estimated[label] = float(np.mean([agreement_of(first, second) for first, second in pairs]))
    outputs = ground.outputs
    predicted = {label: predict_outputs([(0, values)], ground.subsets) for label, values in scores.items()}
    table = lds_table(predicted, outputs, baseline="exact", num_resamples=200)
    rows = [
        {"scores": label, "agreement": _correlation(scores[label], scores["exact"]), "estimated": estimated.get(label)}
        | {key: asdict(value) for key, value in row.items()}
        for label, row in table.items()
    ]
    facts = {"num_pool": num_pool, "num_targets": len(target), "num_subsets": len(outputs)}
    return facts | {"checkpoints": num_checkpoints, "date": time.strftime("%Y-%m-%d"), "rows": rows}


def _made(path: Path, load, m: int, sides) -> dict[str, Any]:
    """The exact kernel, confidences and features under one checkpoint, of pool and target together."""
    if path.exists():
        return torch.load(path, weights_only=True)
    model = load()
    parameters, num_examples = dict(model.named_parameters()), sum(len(side) for side in sides)
    with Featurizer(model, projection="identity") as featurizer:
        blocks = featurizer.engine.blocks
        size = sum(block.size for block in blocks.values())
        sketch = SumOfSketches({name: block.size for name, block in blocks.items()}, SKETCH, seed=0, names=(m,))
        plans = {k: two_sided_blocks(parameters, k=k, seed=derive(0, m)) for k in TWO_SIDED}
        ends = {
            k: make_projector("two-sided", sum(b.size for b in plan.values()), k, seed=0, model_id=m)
            for k, plan in plans.items()
        }
        gradients = torch.empty(num_examples, size, dtype=torch.bfloat16)
        confidence, start = torch.zeros(num_examples), 0
        sketched = torch.zeros(num_examples, SKETCH)
        two_sided = {k: torch.zeros(num_examples, k) for k in TWO_SIDED}
        for examples in sides:
            lengths = np.asarray(examples.windows.lengths)
            for members in balanced_batches(lengths, BUDGET[bool((lengths > 1).any())]):
                rows, outputs = featurizer(examples.batch(members))
                at = torch.from_numpy(start + members)
                gradients[at], confidence[at], sketched[at] = rows.bfloat16(), outputs.confidence, sketch(rows)
                for k, plan in plans.items():
                    kept = [
                        plan[name].project(rows[:, b.start : b.start + b.size].reshape(len(rows), *b.shape))
                        for name, b in blocks.items()
                    ]
                    two_sided[k][at] = ends[k](torch.cat(kept, dim=1))
            start += len(examples)
    gram = torch.zeros(num_examples, num_examples)
    for column in range(0, size, COLUMNS):
        some = gradients[:, column : column + COLUMNS].contiguous()
        gram += (some @ some.T).float()
    folded = {k: sketched.view(num_examples, -1, k).sum(dim=1) for k in FOLDED}
    made = {"gram": gram, "confidence": confidence, "sjlt": folded, "two-sided": two_sided}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(made, path)
    return made


def _exact(kernel: Tensor, num_pool: int) -> np.ndarray:
    own = kernel[:num_pool, :num_pool]
    damped = own + Options().multiple * own.diagonal().mean() * torch.eye(num_pool, dtype=kernel.dtype)
    return torch.linalg.solve(damped, kernel[:num_pool, num_pool:]).numpy()


def _scores(features: Tensor, num_pool: int) -> np.ndarray:
    """TRAK's scores at the default damping, by the smaller of its two kernels."""
    pool, target = features[:num_pool], features[num_pool:]
    damping = usual_damping(features.shape[1], num_pool) * float(pool.square().sum()) / features.shape[1]
    if features.shape[1] > num_pool:
        damped = pool @ pool.T + damping * torch.eye(num_pool, dtype=pool.dtype)
        return torch.linalg.solve(damped, pool @ target.T).numpy()
    damped = pool.T @ pool + damping * torch.eye(features.shape[1], dtype=pool.dtype)
    return (pool @ torch.linalg.solve(damped, target.T)).numpy()


def _correlation(scores: np.ndarray, exact: np.ndarray) -> float:
    """Over the pool, averaged over targets."""
    first, second = scores - scores.mean(axis=0), exact - exact.mean(axis=0)
    products = (first * second).sum(axis=0) / np.sqrt(np.square(first).sum(axis=0) * np.square(second).sum(axis=0))
    return float(products.mean())


if __name__ == "__main__":
    main()
