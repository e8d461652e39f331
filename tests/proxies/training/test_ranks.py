"""Two processes under `torchrun` against one alone: the same weights, one artefact, and no process left behind."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from thresher.cli.main import main
from thresher.errors import InputError
from thresher.proxies.models.spec import model_spec
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.order import Order
from thresher.proxies.training.ranks import Ranks
from thresher.proxies.training.single import train
from thresher.proxies.training.trainer import _refuse_empty_shares

CPU = torch.device("cpu")


def under_torchrun(*arguments):
    """The finished command, in two processes of one thread each."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    return subprocess.run(
        list(map(str, command)),
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=240,
    )


def assert_same_weights(one, other):
    first, second = (load_file(path / "model.safetensors") for path in (one, other))
    assert list(first) == list(second)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=1e-5)


def test_shares_of_a_batch_cover_it_once():
    for size, count in [(16, 4), (11, 3), (3, 3)]:
        shares = [Ranks(CPU, index, count).part(size) for index in range(count)]
        assert [start for start, _ in shares] == [0, *(stop for _, stop in shares[:-1])] and shares[-1][1] == size
        assert max(stop - start for start, stop in shares) - min(stop - start for start, stop in shares) <= 1


def test_a_batch_too_small_for_the_processes_is_refused(text):
    order = Order(text, text.lengths()[:7] * 0, None, TrainConfig(batch_size=3), seed=0)
    _refuse_empty_shares(order, Ranks(CPU, 0, 2))
    with pytest.raises(InputError, match="batches of 2 sequences cannot be shared by 3 processes"):
        _refuse_empty_shares(order, Ranks(CPU, 0, 3))


def test_only_training_runs_in_several_processes(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["featurize", "--models", "a", "--examples", "b", "--out", "c"]) == 2
    assert "featurize runs in one process, not in 2" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_train_what_one_does_and_one_of_them_says_so(text, tmp_path):
    options = ["--pool", text.artifact.path, "--model", "60k", "--seed", 2, "--precision", "float32", "--json"]
    options += ["--batch-size", 11, "--accumulate", 2, "--optimizer", "sgd", "--learning-rate", 0.1, "--device", "cpu"]
    assert main(list(map(str, ["train", *options, "--out", tmp_path / "one"]))) == 0
    for built in (True, False):
        finished = under_torchrun("-m", "thresher.cli.main", "train", *options, "--out", tmp_path / "two")
        assert finished.returncode == 0, finished.stderr
        result = json.loads(finished.stdout)
        assert result["built"] == built and result["num_processes"] == 2
    assert_same_weights(tmp_path / "one", tmp_path / "two")
    facts = [json.loads((tmp_path / name / "meta.json").read_text())["facts"] for name in ("one", "two")]
    assert facts[0]["loss_curve"] == pytest.approx(facts[1]["loss_curve"], abs=1e-5)
    assert [name.name for name in tmp_path.iterdir() if name.name.startswith(".")] == []


TOGETHER = """
import os, signal, sys, threading, time
from pathlib import Path
from tests.proxies.training.test_ranks import long_run

out = Path(sys.argv[2])
state = out.parent / f".{out.name}.partial" / ".state" / "training.safetensors"

def die():
    while not state.exists():
        time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGKILL)

if os.environ["RANK"] == "1" and not state.exists():
    threading.Thread(target=die, daemon=True).start()
long_run(Path(sys.argv[1]), out)
"""


def long_run(pool, out):
    """Long enough to be killed in the middle; of AdamW, whose state has to come back in every process."""
    from thresher.data.examples import open_examples

    examples = open_examples(pool)
    config = TrainConfig.for_language(steps=120, precision="float32", learning_rate=1e-3, eps=1e-3)
    options = {"device": "cpu", "checkpoint_every_seconds": 0.0}
    return train(model_spec("60k", examples), examples, out=out, config=config, seed=2, **options)


@pytest.mark.slow
def test_a_killed_process_ends_all_and_the_run_goes_on(text, tmp_path):
    (tmp_path / "together.py").write_text(TOGETHER)
    arguments = (tmp_path / "together.py", text.artifact.path, tmp_path / "two")
    state = tmp_path / ".two.partial" / ".state" / "training.safetensors"
    killed = under_torchrun(*arguments)
    assert killed.returncode != 0 and "SIGKILL" in killed.stderr
    assert state.exists() and not (tmp_path / "two").exists()
    assert 0 < load_file(state)["losses"].count_nonzero() < 120
    assert under_torchrun(*arguments).returncode == 0
    long_run(text.artifact.path, tmp_path / "one")
    assert_same_weights(tmp_path / "one", tmp_path / "two")
