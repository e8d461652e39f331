"""Studies that were made before losses had steps and bits per byte are judged as they were."""

import numpy as np
import pytest

from thresher.artifacts import build
from thresher.errors import InputError
from thresher.selection.statistics.verdict import Criterion
from thresher.studies.experiments.trust import judge_study


@pytest.fixture
def old(tmp_path):
    rng, rows = np.random.default_rng(0), ["size,recipe,seed,test_set,loss,correct,flops"]
    rows += [
        f"{size},r{recipe},{seed},t,{3 + recipe + 0.1 * rng.normal()},0.5,1e9"
        for size in ("1M", "10M")
        for recipe in range(5)
        for seed in range(2)
    ]

    def write(draft):
        with draft.file("losses.csv") as file:
            file.write_text("\n".join(rows) + "\n")
        facts = {"reference": "10M", "proxies": ["1M"], "flops": {"1M": 1e9, "10M": 1e10}}
        return facts | {"test_sets": ["t"], "chance": {"t": 0.1}}

    return build(tmp_path / "old", kind="transfer", config={}, seed=0, inputs={}, write=write)


def test_an_older_study_is_judged_by_its_losses(old):
    found = judge_study(old, Criterion(num_resamples=20))
    assert found["proxies"]["1M"]["judged"]["t"]["decision_accuracy"]["value"] == 1
    assert list(found["proxies"]["1M"]["signals"]["t"]["proxy"]["noise_from"]) == ["seeds"]


def test_what_an_older_study_lacks_is_said_with_what_to_do(old):
    with pytest.raises(InputError, match=r"has no bits_per_byte of 't': .* once the study is run again"):
        judge_study(old, loss="bits_per_byte")
    with pytest.raises(InputError, match="has 1 steps up to 0, and 3 are to be averaged"):
        judge_study(old, Criterion(average=3))
