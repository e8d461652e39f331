"""What a selection is made from is of one pool, and is known by how it is made."""

import json

import numpy as np
import pytest

import thresher
from thresher.cli.main import main
from thresher.data.examples import open_examples
from thresher.errors import InputError
from thresher.studies.experiments.training_sets import kept_positions
from thresher.studies.selections.evidence import target_scores
from thresher.studies.selections.given_embeddings import SentenceModel
from thresher.studies.selections.sources import Sources
from thresher.studies.stages import POOL, score_study
from thresher.studies.study import AttributionTable
from thresher.workspace import Workspace

CATS = [f"the cat sat on mat number {n}" for n in range(6)]
STOCKS = [f"stocks and bonds fell by {n} points" for n in range(6)]


@pytest.fixture
def pools(tmp_path):
    """Name -> a pool: the same texts twice, in another order, by row numbers and by ids of their own."""
    made = {}
    for name, texts in {"there": [*CATS, *STOCKS], "back": [*STOCKS, *CATS]}.items():
        rows = [{"text": text, "name": f"d{n}"} for n, text in enumerate(texts)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for ids in ("", "-named"):
            options = {"id": "name"} if ids else {}
            options |= {"tokenizer": tmp_path / "there-tokenizer"} if made else {"vocab_size": 300}
            thresher.prepare(tmp_path / f"{name}.jsonl", out=tmp_path / f"{name}{ids}", sequence_length=32, **options)
            made[f"{name}{ids}"] = tmp_path / f"{name}{ids}"
    return made


def test_scores_and_selections_of_rows_of_another_file_are_refused(pools, tmp_path, capsys):
    (tmp_path / "cat.jsonl").write_text(json.dumps({"text": CATS[0]}) + "\n")
    shape = {"tokenizer": tmp_path / "there-tokenizer", "sequence_length": 32}
    target = thresher.prepare(tmp_path / "cat.jsonl", out=tmp_path / "cat", **shape)
    scored = {ids: tmp_path / f"scores{ids}" for ids in ("", "-named")}
    for ids, out in scored.items():
        thresher.score(pool=pools[f"there{ids}"], targets={"cats": target}, scorer="bm25", out=out)
    arguments = ["select", "--scores", str(scored[""]), "--count", "5", "--method", "dsdm"]
    assert main([*arguments, "--pool", str(pools["back"]), "--out", str(tmp_path / "no")]) == 2
    assert "is of other data than the pool: ids are row numbers in both" in capsys.readouterr().err
    assert main([*arguments, "--pool", str(pools["there"]), "--out", str(tmp_path / "kept")]) == 0
    assert len(kept_positions(tmp_path / "kept", open_examples(pools["there"]))) == 5
    with pytest.raises(InputError, match=r"the selection .* is of other data than"):
        kept_positions(tmp_path / "kept", open_examples(pools["back"]))
    # Ids of the data's own say which document is which.
    named = ["select", "--scores", str(scored["-named"]), "--count", "5", "--pool", str(pools["back-named"])]
    assert main([*named, "--out", str(tmp_path / "named")]) == 0


def test_a_hit_is_not_shown_with_the_text_of_another_pool(pools, tmp_path):
    model = thresher.train("20k", pools["there"], out=tmp_path / "model", steps=2, device="cpu")
    features = thresher.featurize(model, pools["there"], out=tmp_path / "features", k=64, device="cpu")
    index = thresher.build_index(features, out=tmp_path / "index")
    assert thresher.search(index, features, 0, k=1, pool=pools["there"]).helpful[0]["preview"]
    with pytest.raises(InputError, match=r"the index .* is of other data than"):
        thresher.search(index, features, 0, pool=pools["back"])


def test_how_evidence_would_be_made_is_part_of_what_a_selection_is_made_from(pools, tmp_path):
    thresher.train("20k", pools["there"], out=tmp_path / "model", steps=2, device="cpu")
    given = {"pool": open_examples(pools["there"]), "models": [str(tmp_path / "model")]}
    given["workspace"] = Workspace(tmp_path / "work", "cpu")
    plain, damped = (
        Sources(table=table, **given).inputs for table in (AttributionTable(), AttributionTable(curvature_damping=1e3))
    )
    assert plain != damped and plain == {name: value for name, value in damped.items() if name != "attribution"}


def test_an_explorer_shows_what_was_scored_and_what_was_kept_of_it(pools, tmp_path):
    shape = {"tokenizer": tmp_path / "there-tokenizer", "sequence_length": 32}
    targets = {}
    for name, text in {"cat": CATS[0], "stock": STOCKS[0]}.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": text}) + "\n")
        targets[name] = thresher.prepare(tmp_path / f"{name}.jsonl", out=tmp_path / name, **shape)
    scored = {"targets": {"cats": targets["cat"]}, "scorer": "bm25"}
    scores = thresher.score(pool=pools["there"], out=tmp_path / "scores", **scored)
    kept = thresher.select(scores, count=5, out=tmp_path / "kept")

    def explore(pool, target, **others):
        return thresher.explore(scores, pools[pool], {"cats": targets[target]}, out=tmp_path / "page.html", **others)

    assert explore("there", "cat", selection=kept).is_file()
    with pytest.raises(InputError, match="is of other data than"):
        explore("back", "cat")
    with pytest.raises(InputError, match=r"is not what .* scored as target 'cats'"):
        explore("there", "stock")


def test_targets_in_another_order_are_other_scores_and_no_error(pools, tmp_path):
    model = thresher.train("20k", pools["there"], out=tmp_path / "model", steps=2, device="cpu")
    stores = {
        name: thresher.featurize(model, pools[pool], out=tmp_path / f"f-{name}", k=64, device="cpu").artifact
        for name, pool in {POOL: "there", "a": "back", "b": "there-named"}.items()
    }
    workspace = Workspace(tmp_path / "w", "cpu")
    for order in ((POOL, "a", "b"), (POOL, "b", "a")):
        made = score_study({name: stores[name] for name in order}, AttributionTable(k=64), workspace)
        assert made.meta["config"]["targets"] == [*order[1:]]


def test_evidence_of_two_targets_of_one_name_stands_side_by_side(pools, tmp_path):
    model = thresher.train("20k", pools["there"], out=tmp_path / "model", steps=2, device="cpu")
    for pool in ("there", "back-named"):
        sources = Sources(
            workspace=Workspace(tmp_path / "evidence", "cpu"),
            pool=open_examples(pools["there"]),
            targets={"t": open_examples(pools[pool])},
            models=[str(model.path)],
            table=AttributionTable(k=64),
        )
        assert target_scores(sources).keys() == {"t"}
    assert len([*(tmp_path / "evidence").rglob("scores.parquet")]) == 2


def test_a_selection_is_known_by_the_weights_of_the_sentence_model(pools, tmp_path, monkeypatch):
    class Model(SentenceModel):
        turn = 0

        def __init__(self, name, *, device="auto"):
            self.name = name

        @property
        def content_hash(self):
            return f"{self.name} {Model.turn}"

        def __call__(self, examples):
            return np.random.default_rng(Model.turn).normal(size=(len(examples), 4)).astype(np.float32)

    monkeypatch.setattr("thresher.studies.selections.sources.SentenceModel", Model)
    monkeypatch.setattr("thresher.selection.evidence.find_spec", lambda name: name)
    options = {"pool": pools["there"], "method": "d4", "count": 4, "embeddings": "sentence-transformers:a/b"}
    thresher.select(out=tmp_path / "kept", **options)
    Model.turn = 1
    with pytest.raises(InputError, match=r"inputs.embeddings"):
        thresher.select(out=tmp_path / "kept", **options)
