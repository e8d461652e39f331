"""What a selection is made from is of one pool, and is known by how it is made."""

import json

import pytest

import thresher
from thresher.cli.main import main
from thresher.data.examples import open_examples
from thresher.errors import InputError
from thresher.studies.experiments.training_sets import kept_positions
from thresher.studies.selections.sources import Sources
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
            tokenizer = {} if not made else {"tokenizer": tmp_path / "there-tokenizer"}
            shape = {"vocab_size": 300, "sequence_length": 32}
            thresher.prepare(tmp_path / f"{name}.jsonl", out=tmp_path / f"{name}{ids}", **shape, **options, **tokenizer)
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
