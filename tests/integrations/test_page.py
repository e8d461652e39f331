"""The lines of docs/integrations.md do what the page says, in one folder, one after the other."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import datasets
import numpy as np
import pytest

import thresher
from tests.integrations.test_trainer_callback import trainer_of
from tests.studies.selections.test_given_embeddings import sentence_model
from thresher.cli.main import main

pytestmark = pytest.mark.integration
PAGE = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text(encoding="utf-8")
FROM_AFAR = ("lm_eval:arc_easy", "OWNER/NAME")
"""Lines that ask the network."""


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(corpus, tmp_path, monkeypatch):
    """What the page takes for granted: a prepared pool with vectors, a task's file, a model, a corpus, scores."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    rows = [json.loads(line) | {"vector": draw.normal(size=4).tolist()} for line in corpus.read_text().splitlines()]
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = thresher.prepare(
        "corpus/rows.jsonl", out="pool", id="id", domain="source", vocab_size=300, sequence_length=32
    )
    (tmp_path / "tasks").mkdir()
    (tmp_path / "questions.jsonl").write_text('{"q": "what floats?", "a": "the boat"}\n' * 2)
    task = {"task": "toy", "dataset_path": "json", "output_type": "generate_until", "test_split": "test",
            "dataset_kwargs": {"data_files": {"test": "questions.jsonl"}, "cache_dir": str(tmp_path / "cache")},
            "doc_to_text": "{{q}}", "doc_to_target": "{{a}}"}  # fmt: skip
    (tmp_path / "tasks" / "toy.yaml").write_text(json.dumps(task))
    sentence_model(tmp_path / "sentences").rename(tmp_path / "model")
    return pool


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_page_s_lines_run(folder, tmp_path, monkeypatch):
    for name in ("lm_eval", "sentence_transformers", "datatrove", "tensorboard", "wandb"):
        pytest.importorskip(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for line in (line for block in blocks("sh") for line in block.splitlines()):
        words = [word for word in shlex.split(line) if not word.startswith("WANDB_MODE=")]
        assert words[0] == "thresher"
        if not set(words) & set(FROM_AFAR):
            assert main([*words[1:], "--quiet"]) == 0, line
    thresher.self_influence(folder, models="proxy", k=16, out="scores")
    data = datasets.Dataset.from_list([json.loads(line) for line in Path("corpus/rows.jsonl").read_text().splitlines()])
    known = {"data": data, "lengths": folder.table()["length"].to_numpy(), "trainer": trainer_of(folder, tmp_path)}
    for block in blocks("python"):
        if not any(name in block for name in FROM_AFAR):
            exec(compile(block, "docs/integrations.md", "exec"), known)
    assert len(known["callback"].made) == 2 and len(next(iter(known["loader"]))["id"]) == 16
    assert {row.id for row in known["pipeline"][1].run(known["pipeline"][0].run())} == set(thresher.open("subset").ids)
    assert (tmp_path / "map.parquet").is_file() and list((tmp_path / "proxy-tensorboard").iterdir())
    (table,) = map(tomllib.loads, blocks("toml"))
    assert table["target"]["arc"] == {"task": "lm_eval:arc_easy"}
