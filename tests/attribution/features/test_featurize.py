"""The feature store against the featuriser called by hand, and what must not change its bytes."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from tests.attribution.cases import checkpoints, digits, mlp, token_examples
from tests.peaks import peak_memory
from thresher.attribution.features.featurize import featurize
from thresher.attribution.features.packing import OUTPUTS, pack, pack_outputs, unpack_outputs
from thresher.attribution.features.store import open_features
from thresher.attribution.gradients.featurizer import Featurizer
from thresher.data.batches import balanced_batches
from thresher.errors import InputError


def gpt2(seed=0):
    torch.manual_seed(seed)
    config = transformers.GPT2Config(vocab_size=19, n_positions=12, n_embd=8, n_layer=1, n_head=2)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def test_a_store_holds_the_features_and_outputs_of_every_example_in_order(tmp_path):
    lengths = np.array([12, 3, 7, 29, 4, 12, 15, 6, 11, 24, 3])  # a few read in several windows
    examples = token_examples(tmp_path / "pool", lengths, width=29, window=12)
    options = {"projection": "sjlt", "k": 23, "seed": 3}
    artifact = featurize(
        checkpoints(gpt2, 2), examples, out=tmp_path / "features", batch_tokens=25, shard_size=4, **options
    )
    store = open_features(artifact.path)
    assert (store.num_examples, store.num_checkpoints, store.k, store.num_shards) == (11, 2, 23, 3)
    assert store.ids == list(examples.ids) and list(store.domains) == list(examples.domains)
    for checkpoint in range(2):
        with Featurizer(gpt2(checkpoint), model_id=checkpoint, **options) as featurizer:
            made = [featurizer(examples.batch(examples.windows_of([i])[0])) for i in range(11)]
        shares = [torch.from_numpy(examples.windows.weights[examples.windows_of([i])[0]]).float() for i in range(11)]
        expected = torch.stack([share @ row.features for share, row in zip(shares, made, strict=True)]).numpy()
        found = np.concatenate([block for _, block in store.blocks(checkpoint)])
        assert [start for start, _ in store.blocks(checkpoint)] == [0, 4, 8]
        assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
        np.testing.assert_allclose(store.example(checkpoint, 9), found[9])
        for name in OUTPUTS:
            outputs = [share @ getattr(row.outputs, name) for share, row in zip(shares, made, strict=True)]
            by_hand = torch.stack(outputs).detach().numpy()
            np.testing.assert_allclose(store.outputs(checkpoint)[name], by_hand, rtol=1e-3, atol=1e-5)


def test_batch_and_shard_sizes_do_not_change_the_features(tmp_path):
    examples = digits(tmp_path / "pool", slice(0, 30))
    one = featurize(checkpoints(mlp, 1), examples, out=tmp_path / "one", k=16, batch_tokens=7, shard_size=11)
    other = featurize(checkpoints(mlp, 1), examples, out=tmp_path / "other", k=16)
    first, second = (np.concatenate([b for _, b in open_features(a.path).blocks(0)]) for a in (one, other))
    assert np.abs(first - second).max() < 1e-3 * np.abs(first).max()


@pytest.mark.slow
def test_a_killed_run_resumes_and_gives_identical_bytes(tmp_path):
    examples = digits(tmp_path / "pool", slice(0, 90))
    whole = featurize(checkpoints(mlp, 2), examples, out=tmp_path / "whole", k=16, shard_size=10)
    script = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).resolve().parents[3])!r})
        from tests.attribution.cases import checkpoints, mlp
        from thresher.attribution.gradients import featurizer as module
        from thresher.attribution.features.featurize import featurize
        from thresher.data.examples import open_examples
        calls, original = [], module.Featurizer.__call__
        def dies(self, batch):
            calls.append(1)
            if len(calls) == 13:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, batch)
        module.Featurizer.__call__ = dies
        examples = open_examples({str(tmp_path / "pool")!r})
        featurize(checkpoints(mlp, 2), examples, out={str(tmp_path / "killed")!r}, k=16, shard_size=10)
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    # Nine shards of the first checkpoint and three of the second were finished, and are not made again.
    scratch = tmp_path / ".killed.partial"
    before = {file.name: file.stat().st_mtime_ns for file in scratch.glob("*.safetensors")}
    assert len(before) == 12
    resumed = featurize(checkpoints(mlp, 2), examples, out=tmp_path / "killed", k=16, shard_size=10)
    assert resumed.content_hash == whole.content_hash
    assert all(resumed.file(name).stat().st_mtime_ns == time for name, time in before.items())
    assert resumed.facts["coverage"] == whole.facts["coverage"]


def test_shards_as_jobs_of_an_executor_give_identical_bytes(tmp_path, monkeypatch):
    asked = []

    def run_here(work, jobs, **options):
        asked.append((list(jobs), options))
        return ((position, work(job)) for position, job in enumerate(jobs))

    monkeypatch.setattr("thresher.attribution.features.featurize.run_jobs", run_here)
    examples, options = digits(tmp_path / "pool", slice(0, 30)), {"k": 16, "shard_size": 20, "device": "cpu"}
    here = featurize(checkpoints(mlp, 2), examples, out=tmp_path / "here", **options)
    spread = featurize(checkpoints(mlp, 2), examples, out=tmp_path / "spread", executor="ray", **options)
    assert spread.content_hash == here.content_hash
    jobs = [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert asked == [(jobs, {"workers": None, "executor": "ray", "device": "cpu"})]


def test_an_unknown_executor_is_refused_in_one_line(tmp_path):
    examples = digits(tmp_path / "pool", slice(0, 5))
    with pytest.raises(InputError, match="executor 'slurm' is unknown; pass one of: processes, ray"):
        featurize(checkpoints(mlp, 1), examples, out=tmp_path / "features", executor="slurm")


def test_batches_of_uneven_text_waste_little_padding():
    lengths = np.random.default_rng(0).integers(2, 200, size=1000)
    batches = list(balanced_batches(lengths, 1000))
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert max(len(batch) * lengths[batch].max() for batch in batches) <= 1000
    assert 1 - lengths.sum() / padded < 0.03


def test_an_example_longer_than_the_budget_is_a_batch_of_its_own():
    assert [batch.tolist() for batch in balanced_batches(np.array([5, 50, 4]), 10)] == [[2, 0], [1]]


@pytest.mark.parametrize("size", [1e-20, 1e-6, 1.0, 1e9, 1e30])
def test_float16_neither_overflows_nor_loses_precision(size):
    features = (size * np.random.default_rng(1).standard_normal((13, 7))).astype(np.float32)
    packed = pack(features, "float16")
    back = packed["features"].astype(np.float32) * packed["scale"]
    assert packed["features"].dtype == np.float16
    np.testing.assert_allclose(back, features, rtol=1e-3)


def test_zero_features_stay_zero():
    assert (pack(np.zeros((3, 2), dtype=np.float32), "float16")["features"] == 0).all()


@pytest.mark.parametrize("kind", ["images", "text"])
def test_a_store_takes_two_bytes_a_number_and_less_than_a_hundredth_more(tmp_path, kind):
    """With ids as people have them of shards: the file and the document's number."""
    n, k, rng = 3000, 512, np.random.default_rng(0)
    if kind == "images":
        examples, make = digits(tmp_path / "pool", np.arange(n) % 1797), mlp
    else:
        ids = [f"shards/part-{i // 400:05d}.jsonl.gz:{i}" for i in range(n)]
        examples, make = token_examples(tmp_path / "pool", rng.integers(3, 13, size=n), ids=ids), gpt2
    store = featurize(checkpoints(make, 1), examples, out=tmp_path / "features", k=k)
    data = sum(entry["bytes"] for entry in store.meta["files"].values())
    assert data < 1.01 * 2 * k * n


def test_outputs_of_one_prediction_follow_from_the_margin_and_others_keep_their_precision():
    margin = np.linspace(-80, 80, 333, dtype=np.float32)
    loss, of_others = (np.logaddexp(0, sign * margin.astype(np.float64)) for sign in (-1, 1))
    values = {"loss": loss, "confidence": np.exp(-loss), "doubt": np.exp(-of_others)}
    one = {"margin": margin} | {name: each.astype(np.float32) for name, each in values.items()}
    assert list(pack_outputs(one)) == ["margin"]
    several = {}
    for least, dtype in ((-4, np.float16), (-30, np.float32)):
        doubt = (10 ** np.linspace(least, 0, 333)).astype(np.float32)
        doubt[0] = 0
        several[dtype] = one | {"loss": one["loss"] + 1, "confidence": 1 - doubt, "doubt": doubt}
        assert pack_outputs(several[dtype])["tail"].dtype == dtype
    for outputs in (one, *several.values()):
        for stored in (pack_outputs(outputs), {**outputs, "loss": outputs["loss"]}):
            found = unpack_outputs(stored)
            for name, values in found.items():
                np.testing.assert_allclose(values, outputs[name], rtol=1e-3, atol=1e-6)
            np.testing.assert_allclose(found["doubt"], outputs["doubt"], rtol=1e-3, atol=1e-30)


def test_a_store_says_where_each_layer_stands(tmp_path):
    options = {"projection": "two-sided-layers", "k": 40, "seed": 3}
    examples = digits(tmp_path / "pool", slice(0, 20))
    store = open_features(featurize(checkpoints(mlp, 1), examples, out=tmp_path / "layers", **options).path)
    assert store.layout == {"1": (0, 20), "3": (20, 40)} and store.k == 40
    with Featurizer(mlp(0), parameters=r"^3\.", projection="identity") as last:
        exact = last(examples.batch(np.arange(20))).features
    part = next(store.blocks(0))[1][:, 20:40]
    true, found = (exact @ exact.T).numpy(), part @ part.T
    assert np.corrcoef(true.flatten(), found.flatten())[0, 1] > 0.8
    whole = open_features(featurize(checkpoints(mlp, 1), examples, out=tmp_path / "whole", k=40).path)
    assert whole.layout == {"all": (0, 40)}


PEAK = """
    import sys
    from tests.attribution.cases import checkpoints, mlp
    from thresher.attribution.features.featurize import featurize
    from thresher.data.examples import open_examples
    featurize(checkpoints(mlp, 2), open_examples(sys.argv[1]), out=sys.argv[2], k=512, shard_size=256, batch_tokens=64)
"""


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_pool(tmp_path):
    """Stored in 2 bytes a number, features of the larger pool take 94 MB more than those of the smaller one."""
    peaks = []
    for n in (4_000, 50_000):
        digits(tmp_path / f"pool{n}", np.arange(n) % 1797)
        peaks.append(peak_memory(PEAK, tmp_path / f"pool{n}", tmp_path / f"f{n}"))
    assert peaks[1] < peaks[0] + 47


def test_a_diverged_model_is_refused_and_leaves_no_artefact(tmp_path):
    def diverged(seed):
        model = mlp(seed)
        model[1].weight.data[0] = torch.nan
        return model

    with pytest.raises(InputError, match="not finite") as error:
        featurize(checkpoints(diverged, 1), digits(tmp_path / "p", slice(0, 9)), out=tmp_path / "f", k=8)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    "options", [{"k": 0}, {"shard_size": 0}, {"batch_tokens": -1}, {"store_dtype": "float8"}, {"projection": "magic"}]
)
def test_bad_options_are_refused_in_one_line(tmp_path, options):
    examples = digits(tmp_path / "pool", slice(0, 5))
    with pytest.raises(InputError) as error:
        featurize(checkpoints(mlp, 1), examples, out=tmp_path / "features", **options)
    assert str(next(iter(options.values()))) in str(error.value) and "\n" not in str(error.value)
    assert not Path(tmp_path / "features").exists()
