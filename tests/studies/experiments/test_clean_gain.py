"""The gain on clean examples, against the means counted by hand."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thresher.artifacts import build, open_artifact
from thresher.intervals import paired
from thresher.studies.experiments.clean_gain import clean_gain, leaked_examples


def made(out, kind, name, rows, **about):
    def write(draft):
        with draft.file(name) as file:
            pq.write_table(pa.Table.from_pylist(rows), file)
        return about.get("facts", {})

    return build(out, kind=kind, config=about.get("config", {}), seed=0, inputs=about.get("inputs", {}), write=write)


def test_it_is_the_paired_difference_of_means_over_examples_that_do_not_leak(tmp_path):
    rng, inputs, by_hand = np.random.default_rng(0), {}, {}
    leaked = {"squad": {"s1", "s3"}, "gsm8k": set()}
    for arm in ("dsdm | top:3", "random"):
        for seed in range(3):
            rows = [
                {"task": task, "id": f"{task[0]}{i}", "loss": float(rng.normal())}
                for task in ("squad", "gsm8k", "off")
                for i in range(5)
            ]
            name = "dsdm-top-3" if arm != "random" else arm
            run = made(tmp_path / "evaluations" / f"{name}-{seed}", "evaluation", "losses.parquet", rows)
            inputs[f"{name}-{seed}"] = run.content_hash
            clean = [
                [row["loss"] for row in rows if row["task"] == task and row["id"] not in gone]
                for task, gone in leaked.items()
            ]
            by_hand[arm, seed] = np.mean([np.mean(losses) for losses in clean])
    validation = made(
        tmp_path / "validation", "validation", "runs.parquet", [{"a": 1}], config={"num_seeds": 3}, inputs=inputs
    )
    expected = paired(*(np.array([by_hand[arm, seed] for seed in range(3)]) for arm in ("dsdm | top:3", "random")))
    found = clean_gain(validation, tmp_path / "evaluations", leaked, "dsdm | top:3", "random")
    assert found is not None and found.n == 3
    assert (found.mean, found.low, found.high) == pytest.approx((expected.mean, expected.low, expected.high))
    everything = {"squad": {f"s{i}" for i in range(5)}, "gsm8k": set()}
    assert clean_gain(validation, tmp_path / "evaluations", everything, "dsdm | top:3", "random") is None


def test_the_examples_that_leak_are_those_that_the_overlap_names(tmp_path):
    rows = [
        {"document": "d1", "target": "squad", "example": "s1", "words": "a b"},
        {"document": "d2", "target": "squad", "example": "s1", "words": "a b"},
    ]
    overlap = made(tmp_path / "overlap", "overlap", "overlap.parquet", rows, facts={"targets": {"squad": {}, "x": {}}})
    assert leaked_examples(open_artifact(overlap.path)) == {"squad": {"s1"}, "x": set()}
