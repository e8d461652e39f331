"""What a model makes of each example (loss, margin, confidence, correctness), and the artefact that keeps it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int
from torch import nn

from thresher.artifacts import Artifact, Draft, build
from thresher.data.examples import Choices, Examples, ImageExamples, TokenExamples, add_shares
from thresher.data.examples.tokens import LabelledTextExamples
from thresher.devices import autocast, pick_device
from thresher.errors import InputError
from thresher.outputs import Outputs, logits_of, outputs_of
from thresher.progress import SILENT, Progress
from thresher.proxies.models.fits import check_all
from thresher.proxies.models.weights import open_model, read_spec
from thresher.workspace import Workspace

# Logits of one batch are at most this many numbers (16 MiB): larger ones leave the cache and are slower on a CPU.
MAX_LOGITS = 2**22


def evaluate(
    model: nn.Module,
    examples: Examples,
    *,
    indices: Sequence[int] | Int[np.ndarray, "m"] | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    precision: str = "float32",
    progress: Progress = SILENT,
) -> dict[str, Float[np.ndarray, "m"]]:
    """The `margin`, `loss`, `confidence` and `correct` (`thresher.outputs`) of the examples at `indices`, float32 [m].

    Losses are in nats. A document that is read in several windows has the mean over the predicted tokens of all of
    them. Windows are taken from the longest to the shortest, so that a batch holds little padding and memory runs out
    at once or never. The model is left on its device and in the mode it came in. Raises InputError for a batch size
    below 1.
    """
    indices = np.arange(len(examples)) if indices is None else np.asarray(indices)
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size={batch_size}; pass 1 or more")
    home, mode = next(model.parameters()).device, model.training
    target = pick_device(device)
    windows, member = examples.windows_of(indices)
    lengths, weights = examples.windows.lengths[windows], examples.windows.weights[windows]
    order = np.argsort(-lengths, kind="stable")
    size = batch_size or _fitting_batch_size(examples, lengths)
    results = {name: torch.zeros(len(indices), dtype=torch.float64) for name in Outputs._fields}
    model.to(target).eval()
    try:
        with progress.task("evaluate", len(windows)) as advance, torch.no_grad(), autocast(target, precision):
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                batch = {name: tensor.to(target) for name, tensor in examples.batch(windows[rows]).items()}
                outputs = outputs_of(logits_of(model, batch), batch["labels"])
                for name, values in outputs._asdict().items():
                    add_shares(results[name], member[rows], weights[rows], values.float().cpu())
                advance(len(rows))
    finally:
        model.to(home).train(mode)
    return {name: values.float().numpy() for name, values in results.items()}


def evaluate_choices(model: nn.Module, choices: Choices, **options: Any) -> dict[str, Float[np.ndarray, "n"]]:
    """Whether the model finds the right choice of each example, float32 [n]: 1 or 0, or a share where choices tie.

    `accuracy` picks the choice with the lowest mean loss of its tokens, `accuracy_sum` that with the lowest summed
    loss, which is the likeliest text. `options` are those of `evaluate`.
    """
    mean = evaluate(model, choices, **options)["loss"]
    return {
        "accuracy": _share_found(mean, choices),
        "accuracy_sum": _share_found(mean * choices.num_predicted, choices),
    }


def measure(model: Artifact, tasks: Mapping[str, Examples], *, out: Path, workspace: Workspace) -> Artifact:
    """Measure `model` on each task, and write an artefact of kind "evaluation" at `out`.

    Its table `losses.parquet` has a row for each example: `task`, `id`, `loss` in nats, `correct`, and where the task
    has choices the `accuracy` and `accuracy_sum` of `evaluate_choices`, else nulls. Raises InputError where the model
    cannot read a task.
    """

    def write(draft: Draft) -> None:
        check_all(read_spec(model.path), tasks.values())
        network = open_model(model.path)
        tables = []
        for task, examples in tasks.items():
            results = evaluate(network, examples, device=workspace.device)
            columns = {
                "task": [task] * len(examples),
                "id": examples.ids,
                "loss": results["loss"],
                "correct": results["correct"],
            }
            choices = examples.choices if isinstance(examples, TokenExamples) else None
            accuracies = {} if choices is None else evaluate_choices(network, choices, device=workspace.device)
            for name in ("accuracy", "accuracy_sum"):
                columns[name] = accuracies.get(name, pa.nulls(len(examples), pa.float32()))
            tables.append(pa.table(columns))
        with draft.file("losses.parquet") as file:
            pq.write_table(pa.concat_tables(tables), file)

    inputs = {
        "model": model.content_hash,
        **{f"task {name}": examples.content_hash for name, examples in tasks.items()},
    }
    return build(out, kind="evaluation", config={}, seed=0, inputs=inputs, write=write)


def chance_of(examples: Examples) -> float:
    """The accuracy of a guess, from 0 to 1, among the classes or the choices; 0 where any token may come next."""
    if isinstance(examples, ImageExamples | LabelledTextExamples):
        return 1 / len(examples.classes)
    choices = examples.choices if isinstance(examples, TokenExamples) else None
    if choices is None:
        return 0.0
    right = np.add.reduceat(choices.right, choices.starts, dtype=np.float64)
    return float(np.mean(right / np.diff(choices.starts, append=len(choices.example))))


def means(evaluation: Artifact) -> dict[str, dict[str, Any]]:
    """The mean `loss`, `correct`, `accuracy` and `accuracy_sum` of each task of an artefact that `measure` made."""
    table = pq.read_table(evaluation.file("losses.parquet")).group_by("task", use_threads=False)
    measures = ("loss", "correct", "accuracy", "accuracy_sum")
    rows = table.aggregate([(name, "mean") for name in measures]).to_pylist()
    return {row["task"]: {"task": row["task"], **{name: row[f"{name}_mean"] for name in measures}} for row in rows}


def _share_found(losses: Float[np.ndarray, "c"], choices: Choices) -> Float[np.ndarray, "n"]:
    lowest = losses == np.minimum.reduceat(losses, choices.starts)[choices.example]
    right = np.add.reduceat(lowest & choices.right, choices.starts, dtype=np.float32)
    return right / np.add.reduceat(lowest, choices.starts, dtype=np.float32)


def _fitting_batch_size(examples: Examples, lengths: Int[np.ndarray, "w"]) -> int:
    vocab_size = getattr(examples, "vocab_size", None)
    if vocab_size is None or not len(lengths):
        return 256
    return int(np.clip(MAX_LOGITS // (vocab_size * int(lengths.max())), 1, 256))
