"""EK-FAC factors on disk, an artefact of kind `curvature`: one `.safetensors` a checkpoint, from a share of a pool.

What is written: `checkpoint000.safetensors`, with `left NAME`, `right NAME` (eigenvectors, where a side has them) and
`eigenvalues NAME` of each group, named by its weight; the groups stand in its header.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from thresher.artifacts import Artifact, Draft, build, open_artifact
from thresher.attribution.curvature.factors import Factor, Factors, fit_factors
from thresher.attribution.curvature.groups import Group
from thresher.data.batches import Part
from thresher.data.examples import Examples
from thresher.devices import pick_device
from thresher.errors import InputError
from thresher.progress import SILENT, Progress
from thresher.seeds import numpy_rng

SAMPLE = 512
"""Examples that factors are made from."""


def fit_curvature(
    models: Sequence[tuple[str, Callable[[], nn.Module]]],
    pool: Examples,
    *,
    out: Path,
    sample: int = SAMPLE,
    seed: int = 0,
    parameters: str | None = None,
    batch_tokens: int | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Artifact:
    """EK-FAC factors of each checkpoint, from `sample` random examples of the pool (all, where it has fewer).

    A killed run continues with the checkpoint it was at. Raises InputError for a sample below 1.
    """
    check_sample(sample)

    def write(draft: Draft) -> dict:
        for m, (_, load) in enumerate(models):
            if not draft.has(name_of(m)):
                part = sampled(pool, sample, seed, "curvature", m, batch_tokens=batch_tokens)
                label = f"factors, checkpoint {m + 1} of {len(models)}"
                options = {"parameters": parameters, "device": pick_device(device)}
                factors = fit_factors(load(), part, seed=seed, progress=progress, label=label, **options)
                with draft.file(name_of(m)) as file:
                    save_factors(factors, file)
        num_examples = min(sample, len(pool))
        facts = {"num_checkpoints": len(models), "num_examples": num_examples, "num_pool": len(pool)}
        return facts | {"share": num_examples / len(pool)}

    inputs = {"pool": pool.content_hash} | {f"model {m}": content_hash for m, (content_hash, _) in enumerate(models)}
    config = {"sample": min(sample, len(pool)), "parameters": parameters}
    return build(out, kind="curvature", config=config, seed=seed, inputs=inputs, write=write)


@dataclass(frozen=True)
class CurvatureStore:
    """Factors on disk, read."""

    artifact: Artifact

    def factors(self, m: int, device: torch.device | str = "cpu") -> Factors:
        """Those of one checkpoint."""
        return load_factors(self.artifact.file(name_of(m)), device)

    def check(self, models: Sequence[tuple[str, Any]], parameters: str | None) -> None:
        """Raise InputError unless the factors are of these checkpoints and of the parameters that are asked for."""
        hashes = [content_hash for content_hash, _ in models]
        own = [self.artifact.meta["inputs"].get(f"model {m}") for m in range(self.artifact.facts["num_checkpoints"])]
        if own != hashes:
            raise InputError(
                f"{self.artifact.path} has the curvature of {len(own)} other or otherwise ordered checkpoints; "
                "give those it was made from, or make it again"
            )
        if (made := self.artifact.meta["config"]["parameters"]) != parameters:
            raise InputError(
                f"{self.artifact.path} has the curvature of parameters {made!r}, {parameters!r} are asked for; "
                "ask for the same, or make it again"
            )


def open_curvature(path: Path) -> CurvatureStore:
    """Read a finished artefact of factors."""
    return CurvatureStore(open_artifact(path, "curvature"))


def save_factors(factors: Factors, file: Path) -> None:
    """Write the factors of one model as one file."""
    tensors = {}
    for factor in factors.blocks:
        sides = {"left": factor.left, "right": factor.right, "eigenvalues": factor.eigenvalues}
        tensors |= {f"{k} {factor.group.weight}": v.cpu().contiguous() for k, v in sides.items() if v is not None}
    save_file(tensors, file, {"groups": json.dumps([asdict(factor.group) for factor in factors.blocks])})


def load_factors(file: Path, device: torch.device | str = "cpu") -> Factors:
    """Read what `save_factors` wrote."""
    with safe_open(file, framework="pt", device=str(device)) as stored:
        there = set(stored.keys())

        def tensor(name: str) -> Any:
            return stored.get_tensor(name) if name in there else None

        described = json.loads(stored.metadata()["groups"])
        groups = [Group(**each | {"weight_shape": tuple(each["weight_shape"])}) for each in described]
        names = ("left", "right", "eigenvalues")
        return Factors(tuple(Factor(g, *(tensor(f"{name} {g.weight}") for name in names)) for g in groups))


def name_of(m: int) -> str:
    """The file of a checkpoint."""
    return f"checkpoint{m:03d}.safetensors"


def check_sample(sample: int, what: str = "sample") -> None:
    """Raises InputError for a sample below 1."""
    if sample < 1:
        raise InputError(f"{what}={sample} is out of range; pass 1 or more examples")


def sampled(pool: Examples, size: int, seed: int, *use: str | int, batch_tokens: int | None) -> Part:
    """Random examples of the pool for one use, all where it has no more."""
    drawn = numpy_rng(seed, *use).choice(len(pool), min(size, len(pool)), replace=False)
    return Part(pool, np.sort(drawn), batch_tokens)
