"""Runs of a TRAKer: in processes of their own, killed, in any order; and what they leave in the folder."""

import gc
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import trak

from tests.attribution.traker.scripts import N, T, batches, digits, mlp, script, traker_of
from thresher.attribution import TRAKer
from thresher.errors import InputError


def test_shuffled_batches_land_where_inds_say(tmp_path):
    train, targets = digits()
    _, expected = script(TRAKer, [mlp()], train, targets, tmp_path)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    model = mlp()
    traker = traker_of(model, tmp_path / "s")
    traker.load_checkpoint(model.state_dict(), model_id=0)
    for (inds,), batch in zip(batches((order,)), batches([t[order] for t in train]), strict=True):
        traker.featurize(batch, inds=inds)
    traker.finalize_features()
    traker.start_scoring_checkpoint("t", model.state_dict(), 0, T)
    traker.score(targets, inds=np.arange(T))
    assert np.allclose(traker.finalize_scores("t"), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_results_lie_where_traker_puts_them_and_it_reads_them(tmp_path):
    _, scores = script(TRAKer, [mlp()], *digits(), tmp_path)
    folder = tmp_path / "thresher"
    assert np.array_equal(np.lib.format.open_memmap(folder / "scores" / "t.mmap", mode="r"), scores)
    assert json.loads((folder / "id_0.json").read_text()) == {"0": {"is_featurized": 1, "is_finalized": 1}}
    assert json.loads((folder / "experiments.json").read_text())["t"]["scores_finalized"] == 1
    # Of some backends a file would be unpickled.
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {".mmap", ".json", ""}
    theirs = traker_of(mlp(), folder, trak.TRAKer)
    again = np.array(theirs.finalize_scores("t"))
    assert np.abs(again - scores).max() < 1e-4 * np.abs(scores).max()
    script(trak.TRAKer, [mlp()], *digits(), tmp_path)
    back = traker_of(mlp(), tmp_path / "trak").finalize_scores("t")
    assert np.abs(back - scores).max() < 1e-4 * np.abs(scores).max()


PROCESS = """
import os, sys
from tests.attribution.traker.scripts import N, T, batches, digits, mlp, traker_of

folder, model_id, die_at = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
train, targets = digits()
model = mlp(model_id)
traker = traker_of(model, folder, load_from_save_dir=bool(die_at))
traker.load_checkpoint(model.state_dict(), model_id=model_id)
for number, batch in enumerate(batches(train, 20), 1):
    if number == die_at:
        os._exit(9)
    traker.featurize(batch, num_samples=len(batch[0]))
traker.finalize_features(model_ids=[model_id])
traker.start_scoring_checkpoint("t", model.state_dict(), model_id, T)
for batch in batches(targets):
    traker.score(batch, num_samples=len(batch[0]))
"""


def process(folder, model_id, die_at=0):
    return [sys.executable, "-c", PROCESS, str(folder), str(model_id), str(die_at)]


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_checkpoints_featurised_in_processes_of_their_own_are_gathered(tmp_path):
    _, expected = script(TRAKer, [mlp(0), mlp(1)], *digits(), tmp_path)
    running = [subprocess.Popen(process(tmp_path / "s", model_id), env=environment()) for model_id in (0, 1)]
    assert [each.wait(timeout=1200) for each in running] == [0, 0]
    scores = traker_of(mlp(), tmp_path / "s").finalize_scores(exp_name="t")
    assert np.allclose(scores, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
def test_a_run_that_was_killed_continues_with_the_examples_it_had_not_done(tmp_path, monkeypatch):
    train, targets = digits()
    _, expected = script(TRAKer, [mlp(0)], train, targets, tmp_path)
    folder, model = tmp_path / "s", mlp(0)
    # Killed by the system after three batches of 20 of the 90.
    killed = subprocess.run(process(folder, 0, die_at=4), env=environment(), timeout=1200)
    assert killed.returncode == 9
    again = traker_of(model, folder)
    again.load_checkpoint(model.state_dict(), model_id=0)
    seen = []
    original = type(again.gradient_computer).compute_per_sample_grad
    monkeypatch.setattr(
        type(again.gradient_computer),
        "compute_per_sample_grad",
        lambda self, batch: seen.append(len(batch[0])) or original(self, batch),
    )
    # Of other batches than before: 60 were done, so the second of 32, 32, 26 is half done.
    for batch in batches(train):
        again.featurize(batch, num_samples=len(batch[0]))
    assert seen == [32, 26]
    again.finalize_features()
    again.start_scoring_checkpoint("t", model.state_dict(), 0, T)
    again.score(targets, num_samples=T)
    assert np.allclose(again.finalize_scores("t"), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_a_run_killed_before_it_noted_its_last_batch_can_be_finalised(tmp_path):
    model, (train, _) = mlp(), digits()
    first = traker_of(model, tmp_path)
    first.load_checkpoint(model.state_dict(), model_id=0)
    first.featurize(train, num_samples=N)
    (tmp_path / "id_0.json").write_text(json.dumps({"0": {"is_featurized": 0, "is_finalized": 0}}))
    again = traker_of(model, tmp_path)
    again.load_checkpoint(model.state_dict(), model_id=0)
    assert again.featurize(train, num_samples=N) == 0
    again.finalize_features()
    assert again.saver.model_ids[0] == {"is_featurized": 1, "is_finalized": 1}


def test_scores_are_made_in_blocks_of_any_size(tmp_path, monkeypatch):
    models = [mlp(0), mlp(1)]
    _, whole = script(TRAKer, models, *digits(), tmp_path / "whole")
    monkeypatch.setattr("thresher.attribution.traker.kernel.BLOCK", 24 * 7)
    _, blocks = script(TRAKer, models, *digits(), tmp_path / "blocks")
    assert np.allclose(blocks, whole, rtol=1e-4, atol=1e-5 * np.abs(whole).max())


def test_targets_of_another_checkpoint_than_the_features_are_refused(tmp_path):
    model, other = mlp(0), mlp(1)
    traker = traker_of(model, tmp_path)
    traker.load_checkpoint({name: value.clone() for name, value in model.state_dict().items()}, model_id=0)
    traker.featurize(digits()[0], num_samples=N)
    traker.finalize_features()
    with pytest.raises(InputError, match=r"model_id 0 was featurised with weights \w+, not \w+"):
        traker.start_scoring_checkpoint("t", other.state_dict(), 0, T)
    with pytest.raises(InputError, match="projection normal of seed 0, not normal of seed 1"):
        traker_of(mlp(0), tmp_path, projector_seed=1).load_checkpoint(mlp(0).state_dict(), model_id=0)


def test_hooks_leave_the_model_with_the_traker(tmp_path):
    model = mlp()
    traker = traker_of(model, tmp_path)
    traker.load_checkpoint(model.state_dict(), model_id=0)
    traker.featurize(digits()[0], num_samples=N)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    del traker
    gc.collect()
    assert not any(module._forward_hooks for module in model.modules())


def test_importing_attribution_does_not_load_traker():
    code = "import sys, thresher.attribution; assert not any(m == 'trak' or m.startswith('trak.') for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=1200)
