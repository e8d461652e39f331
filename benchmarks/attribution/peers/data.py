"""Models and examples as a runner gets them: torch modules in eval mode, and batches."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.torch import load_model as load_safetensors
from torch import nn

from benchmarks.attribution.peers.common import BATCH, TOKENS, Job
from thresher.data import Examples, open_examples
from thresher.outputs import Batch


def load_model(folder: str | Path) -> nn.Module:
    """The model of an artefact; those of `benchmarks.attribution.models` without importing what trains models."""
    spec = json.loads((Path(folder) / "spec.json").read_text())
    if spec["source"] != "function":
        from thresher.proxies import open_model

        return open_model(folder)
    module, _, function = spec["function"].partition(":")
    keys = ("vocab_size", "sequence_length") if spec["task"] == "language" else ("num_classes", "image_shape")
    model = getattr(importlib.import_module(module), function)(**{key: spec[key] for key in keys})
    load_safetensors(model, Path(folder) / "model.safetensors")
    return model.eval()


def pool_of(job: Job) -> Examples:
    return _read_at_once(open_examples(Path(job.pool)))


def targets_of(job: Job) -> Examples:
    return _read_at_once(open_examples(Path(job.targets)))


def _read_at_once(examples: Examples) -> Examples:
    """Examples of one window each: the packages that are compared know no others."""
    if len(examples.windows.example) != len(examples):
        raise SystemExit(f"{examples.artifact.path} has documents of several windows; prepare them in shorter pieces")
    return examples


def batch_size_of(examples: Examples) -> int:
    return max(1, TOKENS // int(examples.lengths().max())) if is_text(examples) else BATCH


def is_text(examples: Examples) -> bool:
    return examples.artifact.kind == "text-examples"


def batches(examples: Examples) -> Iterator[Batch]:
    size = batch_size_of(examples)
    for start in range(0, len(examples), size):
        yield examples.batch(np.arange(start, min(start + size, len(examples))))


def pairs(examples: Examples) -> Iterator[tuple]:
    """(inputs, labels) of each batch, as packages for classification take them."""
    for batch in batches(examples):
        yield batch["input_ids" if "input_ids" in batch else "pixel_values"], batch["labels"]
