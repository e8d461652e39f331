"""The data of an explorer: scores as they are on disk, whole documents, and what is left out when room is short."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from thresher.artifacts import open_artifact
from thresher.attribution.scoring.scores import score_blocks
from thresher.data.examples.scored import scored_texts
from thresher.errors import InputError
from thresher.selection.combination import combine
from thresher.studies.explorer.content import content_of
from thresher.studies.explorer.ends import Block, RunningEnds, ends_of
from thresher.studies.explorer.packing import as_json
from thresher.studies.explorer.page import page_of
from thresher.studies.explorer.room import MEGABYTE
from thresher.studies.explorer.subject import Subject

TYPES = {"f": np.float32, "i": np.int32, "u": np.uint8}


def unpacked(field):
    return np.frombuffer(base64.b64decode(field["of"]), TYPES[field["as"]])


def test_scores_documents_and_selection_are_those_on_disk(text):
    content = content_of(text, 5 * MEGABYTE)
    pool, (column,) = content["pool"], content["columns"]
    assert pool["ids"] == list(text.pool.ids) and content["about"]["missing"] == ""
    assert np.array_equal(unpacked(column["scores"]), text.table.by_target["<i>cooks"])
    assert np.array_equal(np.flatnonzero(unpacked(pool["kept"])), np.sort(text.selection.positions))
    assert np.array_equal(unpacked(pool["lengths"]), text.pool.lengths())
    assert ["".join(one) for one in pool["documents"]] == text.pool.texts(range(90))
    assert [pool["domains"][code] for code in unpacked(pool["domain"])] == text.pool.domains.tolist()


def test_the_mean_over_the_proxies_of_each_pair_is_its_score_and_the_ends_are_the_extremes(text):
    content = content_of(text, 5 * MEGABYTE)
    options = {name: text.scores.meta["config"][name] for name in ("damping", "q", "convention")}
    blocks = score_blocks(text.features, text.target_features["<i>cooks"], **options)
    scores = np.concatenate([block for _, block in blocks])
    forward, back = content["targets"][0]["forward"], content["targets"][0]["back"]
    shape, k = (8, 2, forward["k"]), forward["k"]
    places, values = unpacked(forward["places"]).reshape(shape), unpacked(forward["scores"]).reshape(shape)
    for example in range(8):
        order = np.argsort(-scores[:, example], kind="stable")
        assert np.allclose(values[example, 0], scores[order[:k], example], rtol=1e-4, atol=1e-9)
        assert np.allclose(values[example, 1], scores[order[::-1][:k], example], rtol=1e-4, atol=1e-9)
        assert np.allclose(scores[places[example].ravel(), example], values[example].ravel(), rtol=1e-4, atol=1e-9)
    own = unpacked(back["scores"]).reshape(90, 2, back["k"])
    assert np.allclose(own[:, 0, 0], scores.max(axis=1), rtol=1e-4, atol=1e-9)
    assert np.allclose(own[:, 1, 0], scores.min(axis=1), rtol=1e-4, atol=1e-9)
    (column,) = content["columns"]
    agreeing = unpacked(column["agreeing"])
    assert set(agreeing.tolist()) <= {1, 2} and len(set(agreeing.tolist())) == 2
    # Two proxies a and b: their spread is |a - b| / sqrt 2, and signs differ where it exceeds sqrt 2 |mean|.
    mean, spread = unpacked(column["scores"]), unpacked(column["spread"])
    assert np.array_equal(agreeing == 1, spread > np.sqrt(2) * np.abs(mean) * (1 + 1e-6))


def test_scores_of_single_examples_are_kept_and_found_again(text, tmp_path):
    kept = replace(text, keep=tmp_path / "pairs")
    first, again, plain = (content_of(one, 5 * MEGABYTE) for one in (kept, kept, text))
    assert first == again and open_artifact(tmp_path / "pairs").kind == "pairs"
    for way in ("forward", "back"):
        assert first["targets"][0][way] == plain["targets"][0][way]
    assert first["columns"] == plain["columns"]


def test_a_prompt_is_given_and_its_continuation_is_scored_with_every_space(text):
    target = text.targets["<i>cooks"]
    for part, whole in zip(scored_texts(target, range(8)), target.texts(range(8)), strict=True):
        assert "".join(part) == whole and part.scored.startswith("boil the rice") and "what of" in part.before


def test_copies_are_found_whatever_their_case(text):
    first = unpacked(content_of(text, 5 * MEGABYTE)["pool"]["first"])
    assert first[7] == 4 and first[4] == 4 and (first != np.arange(90)).sum() == 1


def test_pictures_carry_labels_predictions_and_every_column(pictures):
    content = content_of(pictures, 5 * MEGABYTE)
    pool = content["pool"]
    assert all(one.startswith("data:image/png;base64,") for one in pool["documents"])
    assert [column["name"] for column in content["columns"]] == ["all targets", "t", "u"]
    together = combine(pictures.table.by_target).astype(np.float32)
    assert np.array_equal(unpacked(content["columns"][0]["scores"]), together)
    labels, predicted = unpacked(pool["labels"]), unpacked(pool["predicted"])
    assert set(np.flatnonzero(labels != predicted)) == set(range(6))
    assert (unpacked(pool["given"])[:6] < 0.5).all() and (unpacked(pool["confidence"]) >= 0.5).all()
    assert content["targets"][0]["forward"]["k"] == 3 and content["targets"][0]["back"] is None


def test_a_score_of_every_pair_needs_no_features(matrix):
    content = content_of(matrix, 5 * MEGABYTE)
    assert np.allclose(unpacked(content["columns"][0]["scores"]), matrix.matrix.mean(axis=1))
    assert "select" not in content["commands"]
    back = content["targets"][0]["back"]
    assert np.allclose(unpacked(back["scores"]).reshape(300, -1)[:, 0], matrix.matrix.max(axis=1))
    assert np.allclose(unpacked(back["spread"]), np.abs(unpacked(back["scores"])) / 2)


@pytest.mark.parametrize("kilobytes", [40, 80, 130])
def test_a_page_without_room_keeps_the_ends_and_says_what_is_missing(matrix, kilobytes):
    content = content_of(matrix, kilobytes * 1024)
    pool, documents = content["pool"], content["pool"]["documents"]
    size = len(as_json(content).encode())
    assert size < kilobytes * 1024 * 1.15
    rows = np.arange(300) if pool["position"] is None else unpacked(pool["position"])
    assert [matrix.pool.ids[row] for row in rows] == pool["ids"]
    there = [row for row, one in zip(rows, documents, strict=True) if one is not None]
    assert f"{len(there)} of 300 pool examples are whole in this page" in content["about"]["missing"]
    scores = matrix.matrix.mean(axis=1)
    assert {int(scores.argmax()), int(scores.argmin())} <= set(there)
    assert content["columns"][0]["curve"][-1][0] == 300
    places = unpacked(content["targets"][0]["forward"]["places"])
    assert places.max() < len(rows)


def test_scores_of_examples_for_themselves_are_a_column_of_their_own(text, tmp_path):
    import thresher

    scores = thresher.self_influence(text.features.artifact, out=tmp_path / "self").artifact
    content = content_of(Subject(scores=scores, pool=text.pool), 5 * MEGABYTE)
    (column,) = content["columns"]
    assert column["kind"] == "self" and column["name"] == "self_influence" and content["targets"] == []


def test_ends_are_the_same_in_blocks_as_in_one_piece():
    draw = np.random.default_rng(0)
    scores = draw.integers(-5, 5, (4, 37)).astype(float)  # with many equals
    running, whole = RunningEnds(5), ends_of(Block(scores, np.abs(scores)), 5)
    for start in range(0, 37, 4):
        running.add(start, Block(scores[:, start : start + 4], np.abs(scores[:, start : start + 4])))
    found = running.finish()
    assert np.array_equal(found.block.scores, whole.block.scores)
    assert np.array_equal(found.places[:, :5], whole.places[:, :5])
    assert np.array_equal(np.take_along_axis(scores, found.places, axis=1), found.block.scores)


def test_no_text_can_end_the_data_or_become_a_tag(text):
    page = page_of(content_of(text, 5 * MEGABYTE))
    assert page.count("</script>") == 2 and page.count("<script") == 2 and "<img" not in page
    raw = page.split('id="data">')[1].split("</script>")[0]
    assert not re.search(r"[<>&]", raw) and json.loads(raw)["pool"]["ids"] == list(text.pool.ids)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    assert "default-src 'none'" in policy and "unsafe" not in policy and "connect-src 'none'" in policy
    assert page.index("Written by thresher") < 4096


@pytest.mark.parametrize("value", [1.5, "\ud800", {"<": "\u2028&"}, None])
def test_json_comes_back_as_it_was(value):
    assert json.loads(as_json(value)) == value
    as_json(value).encode()


def test_what_does_not_belong_together_is_refused_in_one_line(text, matrix, pictures):
    with pytest.raises(InputError, match=r"has not the examples that .* scored; give the pool"):
        replace(text, pool=matrix.pool, selection=None)
    with pytest.raises(InputError, match=r"target 'cooks' is unknown .nearest: '<i>cooks'"):
        replace(text, targets={"cooks": text.targets["<i>cooks"]})
    with pytest.raises(InputError, match="has 90 examples, target '<i>cooks' was scored with 8"):
        replace(text, targets={"<i>cooks": text.pool})
    with pytest.raises(InputError, match="scores 300 x 20 examples, pool and target 't' have 300 and 300"):
        replace(matrix, targets={"t": matrix.pool})
    with pytest.raises(InputError, match="give its one"):
        replace(matrix, targets={})
    with pytest.raises(InputError, match="judged scores of 90 examples, this pool has 300"):
        replace(matrix, lds=text.lds)
    with pytest.raises(InputError, match="does not select from"):
        replace(matrix, selection=text.selection)
    with pytest.raises(InputError, match="holds not the features that"):
        replace(text, target_features={"<i>cooks": text.features})
    with pytest.raises(InputError, match="was not made from features"):
        replace(pictures, features=text.features, target_features={"t": text.features})
    with pytest.raises(InputError, match="holds 'text-examples'; give scores"):
        replace(text, scores=text.pool.artifact)
