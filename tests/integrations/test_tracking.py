"""What trackers were told of a training is what the training did, as their own readers give it back."""

import struct

import numpy as np
import pytest

import thresher
from thresher.cli.main import main
from thresher.errors import InputError
from thresher.trackers import tracker_of


@pytest.fixture(scope="module")
def pool(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("tracking") / "pool"
    return thresher.prepare(corpus, out=out, id="id", domain="source", vocab_size=300, sequence_length=32)


@pytest.fixture
def trained(pool, tmp_path):
    def trained(kind):
        command = ["train", "--pool", str(pool.path), "--model", "20k", "--batch-size", "16", "--device", "cpu"]
        assert main([*command, "--log-to", kind, "--quiet", "--out", str(tmp_path / "model")]) == 0
        plain = thresher.train("20k", pool, out=tmp_path / "plain", batch_size=16, device="cpu")
        model = thresher.open(tmp_path / "model")
        assert model.content_hash == plain.content_hash  # telling changes nothing
        assert (
            main([*command, "--log-to", kind, "--quiet", "--out", str(tmp_path / "model")]) == 0
        )  # begins no other run
        return tmp_path / f"model-{kind}", model.facts

    return trained


def fits(steps, losses, rates, facts):
    """Every step once, with the losses that the artefact keeps."""
    assert list(steps) == list(range(1, facts["num_steps"] + 1))
    curve = [part.mean() for part in np.array_split(np.array(losses), min(len(losses), 100))]
    assert curve == pytest.approx(facts["loss_curve"], rel=1e-5)
    assert max(rates) == pytest.approx(facts["learning_rate"], rel=1e-3) and min(rates) < max(rates)


@pytest.mark.integration
def test_tensorboard_s_event_file_has_every_step(trained):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, facts = trained("tensorboard")
    assert len(list(folder.iterdir())) == 1
    events = EventAccumulator(str(folder)).Reload()
    losses, rates = events.Scalars("train/loss"), events.Scalars("train/learning_rate")
    fits([e.step for e in losses], [e.value for e in losses], [e.value for e in rates], facts)


def records(data):
    """Of a .wandb file after its header: LevelDB's log of checksum, length and kind (1 whole, 2 to 4 in parts)."""
    place, parts = 0, b""
    while place + 7 <= len(data):
        room = 32768 - (place + 7) % 32768
        _, size, kind = struct.unpack_from("<IHB", data, place)
        if room < 7 or kind == 0:
            place += room
            continue
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):
            yield parts
            parts = b""


@pytest.mark.integration
def test_weights_and_biases_offline_keeps_every_step(trained, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    from wandb.proto import wandb_internal_pb2

    folder, facts = trained("wandb")
    (file,) = folder.rglob("*.wandb")
    rows = []
    for data in records(file.read_bytes()[7:]):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): float(item.value_json) for item in items})
    fits([row["_step"] for row in rows], [row["train/loss"] for row in rows],
         [row["train/learning_rate"] for row in rows], facts)  # fmt: skip


@pytest.mark.integration
def test_trackio_keeps_every_step(trained, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio")
    _, facts = trained("trackio")
    rows = trackio.SQLiteStorage.get_logs("thresher", "model")
    fits([row["step"] for row in rows], [row["train/loss"] for row in rows],
         [row["train/learning_rate"] for row in rows], facts)  # fmt: skip
    assert "Trackio" not in capsys.readouterr().out


def test_a_tracker_that_is_none_or_not_there_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="log_to 'mlflow' is unknown; pass one of: tensorboard, wandb, trackio"):
        tracker_of("mlflow", tmp_path / "model")
    monkeypatch.setitem(__import__("sys").modules, "trackio", None)
    with pytest.raises(InputError, match=r"needs it .*pip install 'thresher\[integrations\]'"):
        thresher.train("20k", tmp_path / "none", out=tmp_path / "model", log_to="trackio")
