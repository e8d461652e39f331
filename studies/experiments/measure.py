"""What a trained model makes of held-out tasks, as an artefact."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from thresher.artifacts import Artifact, Draft, build
from thresher.data.examples import Examples, ImageExamples, TokenExamples
from thresher.data.text.labelled_text import LabelledTextExamples
from thresher.proxies import evaluate, evaluate_choices, open_model, read_spec
from thresher.proxies.models.fits import check_all
from thresher.workspace import Workspace


def measure(model: Artifact, tasks: Mapping[str, Examples], *, out: Path, space: Workspace) -> Artifact:
    """Per-example loss and correctness of `model` on each task, an artefact of kind "evaluation".

    Where a task has choices, also whether the right one was found, by mean and by summed loss; null where it has none.
    """

    def write(draft: Draft) -> None:
        check_all(read_spec(model.path), tasks.values())
        network = open_model(model.path)
        tables = []
        for task, examples in tasks.items():
            results = evaluate(network, examples, device=space.device)
            columns = {
                "task": [task] * len(examples),
                "id": examples.ids,
                "loss": results["loss"],
                "correct": results["correct"],
            }
            choices = examples.choices if isinstance(examples, TokenExamples) else None
            found = {} if choices is None else evaluate_choices(network, choices, device=space.device)
            for name in ("accuracy", "accuracy_sum"):
                columns[name] = found.get(name, pa.nulls(len(examples), pa.float32()))
            tables.append(pa.table(columns))
        with draft.file("losses.parquet") as file:
            pq.write_table(pa.concat_tables(tables), file)

    inputs = {
        "model": model.content_hash,
        **{f"task {name}": examples.content_hash for name, examples in tasks.items()},
    }
    return build(out, kind="evaluation", config={}, seed=0, inputs=inputs, write=write)


def chance_of(examples: Examples) -> float:
    """The accuracy of a guess: among the choices, among the classes of images, else 0 (any token may come next)."""
    if isinstance(examples, ImageExamples | LabelledTextExamples):
        return 1 / len(examples.classes)
    choices = examples.choices if isinstance(examples, TokenExamples) else None
    if choices is None:
        return 0.0
    right = np.add.reduceat(choices.right, choices.starts, dtype=np.float64)
    return float(np.mean(right / np.diff(choices.starts, append=len(choices.example))))


def means(evaluation: Artifact) -> dict[str, dict[str, Any]]:
    """task -> the means of its examples."""
    table = pq.read_table(evaluation.file("losses.parquet")).group_by("task", use_threads=False)
    measures = ("loss", "correct", "accuracy", "accuracy_sum")
    rows = table.aggregate([(name, "mean") for name in measures]).to_pylist()
    return {row["task"]: {"task": row["task"], **{name: row[f"{name}_mean"] for name in measures}} for row in rows}
