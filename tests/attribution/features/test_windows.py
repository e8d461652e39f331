"""Scores of parts: every window of a document as an example of its own, on request."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from thresher.attribution.features.store import open_features
from thresher.cli.main import main
from thresher.data.examples import open_examples


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("windows")
    rows = [{"text": " ".join(f"word{(n * 7 + m) % 50}" for m in range(3 + 9 * n))} for n in range(12)]
    (root / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shape = ["--vocab-size", "300", "--sequence-length", "16", "--quiet"]
    assert main(["prepare", "--data", str(root / "pool.jsonl"), *shape, "--out", str(root / "pool")]) == 0
    assert main(["train", "--pool", str(root / "pool"), "--model", "20k", "--quiet", "--out", str(root / "m")]) == 0
    for name, more in {"whole": [], "parts": ["--windows"]}.items():
        options = ["--models", str(root / "m"), "--examples", str(root / "pool"), "--k", "32", "--quiet", *more]
        assert main(["featurize", *options, "--out", str(root / name)]) == 0
    return root


def test_a_document_s_features_are_the_weighted_mean_of_its_windows(made):
    whole, parts = open_features(made / "whole"), open_features(made / "parts")
    windows = open_examples(made / "pool").windows
    assert whole.num_examples == 12 and parts.num_examples == len(windows.example) > 24
    found = np.zeros((12, 32), dtype=np.float32)
    (_, features), *more = parts.blocks(0)
    assert not more
    np.add.at(found, windows.example, windows.weights[:, None].astype(np.float32) * features)
    ((_, expected),) = whole.blocks(0)
    np.testing.assert_allclose(found, expected, atol=5e-3 * np.abs(expected).max())


def test_scores_of_windows_have_their_document_s_id_and_a_number(made):
    options = ["--pool", str(made / "parts"), "--targets", f"t={made / 'whole'}", "--quiet"]
    assert main(["score", *options, "--out", str(made / "scores")]) == 0
    ids = pq.read_table(made / "scores" / "scores.parquet")["id"].to_pylist()
    assert ids[:2] == ["0:0", "1:0"] and ids[-1].startswith("11:") and len(set(ids)) == len(ids)
    lengths = np.load(made / "scores" / "lengths.npy")
    assert lengths.sum() == open_examples(made / "pool").lengths().sum() and lengths.max() <= 16


def test_an_index_of_windows_shows_the_texts_of_windows(made, capsys):
    pytest.importorskip("faiss")
    for name in ("whole", "parts"):
        assert main(["index", "--features", str(made / name), "--quiet", "--out", str(made / f"{name}-index")]) == 0
    capsys.readouterr()
    texts = {}
    for name in ("whole", "parts"):
        words = ["--index", str(made / f"{name}-index"), "--target", str(made / "whole"), "--example", "11"]
        assert main(["search", *words, "--top", "12", "--pool", str(made / "pool"), "--json", "--quiet"]) == 0
        found = json.loads(capsys.readouterr().out)
        texts[name] = {hit["id"]: hit["preview"] for side in ("helpful", "harmful") for hit in found[side]}
    assert {":" in id for id in texts["whole"]} == {False} and {":" in id for id in texts["parts"]} == {True}
    windows = open_examples(made / "pool").by_window()
    own = dict(zip(windows.ids, windows.texts(range(len(windows))), strict=True))
    assert texts["parts"] == {id: own[id] for id in texts["parts"]}


def test_rows_and_images_have_no_windows(made, capsys):
    rows = "".join(json.dumps({"ask": "q", "text": f"word{n}"}) + "\n" for n in range(5))
    (made / "rows.jsonl").write_text(rows)
    options = ["--prompt", "ask", "--continuation", "text", "--tokenizer", str(made / "pool-tokenizer"), "--quiet"]
    assert main(["prepare", "--data", str(made / "rows.jsonl"), *options, "--out", str(made / "rows")]) == 0
    arguments = ["--models", str(made / "m"), "--examples", str(made / "rows"), "--windows", "--out", str(made / "no")]
    assert main(["featurize", *arguments]) == 2
    assert "holds no documents to take the windows of" in capsys.readouterr().err
