"""`thresher score` by each of its scorers, on one small corpus."""

import inspect
import json
import re
from dataclasses import fields
from functools import partial
from itertools import chain

import numpy as np
import pyarrow.parquet as pq
import pytest

import thresher
from tests.toy_corpus import write_corpus
from thresher.api.scorer_check import Asked, say_idle
from thresher.cli.main import main
from thresher.cli.score import Score
from thresher.errors import InputError
from thresher.scorers import HOW, SCORERS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A prepared pool and target, and a proxy."""
    folder = tmp_path_factory.mktemp("made")
    data = ("prepare", "--data", write_corpus(folder / "corpus.jsonl"), "--id", "id", "--sequence-length", 16)
    commands = [
        (*data, "--part", 0.2, 1, "--vocab-size", 300, "--out", folder / "pool"),
        (*data, "--part", 0, 0.2, "--tokenizer", folder / "pool-tokenizer", "--out", folder / "target"),
        ("train", "--pool", folder / "pool", "--model", "20k", "--precision", "float32", "--out", folder / "proxy"),
    ]
    for command in commands:
        assert main([*map(str, command), "--quiet"]) == 0
    return folder


@pytest.fixture
def score(made, capsys):
    """Runs the command over the prepared pool; (status, result, stderr)."""

    def run(*options, targets=("--targets", f"t={made / 'target'}")):
        capsys.readouterr()
        start = ("score", "--pool", made / "pool", "--models", made / "proxy", *targets)
        status = main([*map(str, (*start, *options)), "--json", "--quiet"])
        printed = capsys.readouterr()
        return status, json.loads(printed.out) if printed.out else None, printed.err

    return run


def small(name):
    """Options of a scorer that make it quick."""
    return chain(*((f"--{key}", count) for key, count in {"steps": 2, "k": 64}.items() if key in SCORERS[name].takes))


def column(path, name="t"):
    return pq.read_table(path / "scores.parquet")[name].to_numpy()


def test_every_method_writes_the_same_kind_of_scores_and_they_agree(made, tmp_path, score):
    found = {}
    options = {
        "dual": ("--scorer", "dual"),
        "direction": ("--scorer", "direction", "--sample", 10_000),
        "some": ("--scorer", "direction", "--sample", 60),
        "features": ("--scorer", "trak", "--k", 4096, "--damping", 3 * 4096 / 300),
    }
    for name, chosen in options.items():
        status, result, error = score(*chosen, "--q", "none", "--out", tmp_path / name)
        assert status == 0 and result["kind"] == "scores" and result["num_target_examples"]["t"] > 0, error
        found[name] = column(tmp_path / name)
    schemas = {str(pq.read_schema(tmp_path / name / "scores.parquet")) for name in options}
    assert len(schemas) == 1
    np.testing.assert_allclose(found["direction"], found["dual"], rtol=1e-2, atol=1e-3 * abs(found["dual"]).max())
    assert np.corrcoef(found["some"], found["dual"])[0, 1] > 0.8
    assert np.corrcoef(found["features"], found["dual"])[0, 1] > 0.8


def test_a_few_targets_are_scored_without_projection_unless_something_needs_features(made, tmp_path, score):
    status, result, error = score("--sample", 60, "--out", tmp_path / "few")
    assert status == 0 and result["solves"] and list((tmp_path / "few-evidence").glob("curvature-*")), error
    status, result, error = score("--damping", 3, "--out", tmp_path / "damped")
    assert status == 0 and result["sample"] > 0 and not (tmp_path / "damped-evidence").exists(), error
    status, result, error = score("--top", 2, "--k", 64, "--out", tmp_path / "top")
    assert status == 0 and result["k"] == 64 and 0 <= result["agreement"]["t"] <= 1, error
    many = ["--targets", *(f"t{i}={made / 'target'}" for i in range(5))]
    status, result, error = score("--k", 64, "--out", tmp_path / "many", targets=many)
    assert status == 0 and result["k"] == 64 and (tmp_path / "many-evidence/features").exists(), error


def test_a_projection_that_loses_too_much_is_warned_of(made, tmp_path, score):
    _, result, error = score("--scorer", "trak", "--k", 2, "--out", tmp_path / "bad")
    assert result["agreement"]["t"] < 0.9 and "scores from k = 2 numbers agree to about" in error
    _, result, error = score("--scorer", "trak", "--k", 4096, "--out", tmp_path / "good")
    assert 0.9 < result["agreement"]["t"] < 1 and "agree to about" not in error
    few = ("--parameters", "ln_f")
    _, result, error = score("--scorer", "trak", "--k", 4096, *few, "--out", tmp_path / "whole")
    assert result["agreement"]["t"] == 1 and "agree to about" not in error


def test_what_is_asked_of_the_traker_backend_reaches_it(made, tmp_path, score):
    # Of k = 16 and one seed, so that nothing else changes the scores.
    asked = {"own": (), "damped": ("--damping", 3), "signs": ("--projection", "rademacher"), "no-q": ("--q", "none")}
    idle, found = ("--evidence", tmp_path / "evidence"), {}
    for name, options in asked.items():
        status, _, error = score("--backend", "traker", "--k", 16, *options, *idle, "--out", tmp_path / name)
        assert status == 0 and "--evidence has no effect with --backend traker" in error
        config = json.loads((tmp_path / name / "meta.json").read_text())["config"]
        found[name] = column(tmp_path / name), {key: config[key] for key in ("damping", "projection", "q")}
    assert found["own"][1] == {"damping": 0.0, "projection": "normal", "q": "mean"}
    assert all(not np.allclose(found[name][0], found["own"][0], rtol=1e-3) for name in asked if name != "own")


def test_what_is_given_is_told_from_the_defaults_of_the_command_and_of_the_call():
    call = inspect.signature(thresher.score).parameters
    for field in fields(Asked):
        assert field.default == Score.__dataclass_fields__[field.name].default
        assert field.name == "self_influence" or field.default == call[field.name].default


def test_a_damping_by_leave_one_out_that_not_every_scorer_can_choose_is_told(caplog):
    say_idle(["trak", "dual", "ekfac"], Asked(damping="loo"))
    assert caplog.messages == ["--damping loo has no effect with scorer dual, which keeps its default"]


def test_self_influence_takes_no_targets(made, tmp_path, score):
    options = "--k", 64, "--steps", 3, "--evidence", tmp_path / "evidence"
    status, result, error = score("--self-influence", *options, "--out", tmp_path / "own", targets=())
    assert status == 0 and list(result["targets"]) == ["self_influence"], error
    assert "--steps has no effect with self-influence" in error and list((tmp_path / "evidence").iterdir())
    assert (column(tmp_path / "own", "self_influence") > 0).all()


def test_extremes_of_every_target_example_come_from_the_dual_too(made, tmp_path, score):
    status, result, error = score("--scorer", "dual", "--top", 3, "--out", tmp_path / "scores")
    assert status == 0, error
    assert len(pq.read_table(tmp_path / "scores/top.parquet")) == 2 * 3 * result["num_target_examples"]["t"]


@pytest.mark.parametrize(
    "options, message",
    [
        (("--method", "dual"), "--method is no option of thresher score any more; write --scorer"),
        (("--scorer", "dual", "--damping", "loo"), "--damping loo does not go with --scorer dual"),
        (("--scorer", "dual", "--backend", "traker"), "--backend traker does not go with --scorer dual"),
        (("--backend", "traker", "--top", 3), "--top does not go with --backend traker"),
        (("--backend", "traker", "--damping", "loo"), "--damping loo does not go with --backend traker"),
        (("--backend", "traker", "--convention", "dattri"), "--convention dattri does not go with --backend traker"),
        (("--backend", "traker", "--goal", "labels"), "--goal labels does not go with --backend traker"),
        (("--backend", "traker", "--output", "loss"), "--output loss does not go with --backend traker"),
        (("--backend", "traker", "--parameters", "h"), "--parameters h does not go with --backend traker"),
        (("--backend", "traker", "--projection", "sjlt"), "traker has no projection 'sjlt'"),
        (("--backend", "traker", "--k", 100_000), "windows has no inverse at damping 0"),
        (("--backend", "traker", "--device", "cuda"), "--device cuda does not go with --backend traker"),
        (("--scorer", "bm25", "--output", "loss"), "--output loss does not go with --scorer bm25"),
        (("--scorer", "ekfac", "--damping", 3), "its own is --curvature-damping"),
        (("--scorer", "trak", "--curvature-damping", 3), "its own is --damping"),
        (("--scorer", "trak", "--window", 5), "--window does not go with --scorer trak"),
        (("--scorer", "grad-cosine", "--goal", "labels"), "--goal labels does not go with --scorer grad-cosine"),
        (("--scorer", "metagradient", "--parameters", "h"), "--parameters h does not go with --scorer metagradient"),
        (("--scorer", "direction", "--top", 3), "--top does not go with --scorer direction"),
        (("--scorer", "dual", "--convention", "dattri"), "--convention dattri does not go with --scorer dual"),
        (("--scorer", "direction", "--sample", 0), "--sample 0 cannot be; give a number from 1"),
        (("--scorer", "direction", "--damping", 0), "damping=0.0 is out of range"),
        (("--scorer", "dual", "--memory-gb", 1e-5), "give more memory"),
        (("--self-influence",), "--self-influence scores each example for itself; leave out --targets"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(made, tmp_path, score, options, message):
    status, _, error = score(*options, "--out", tmp_path / "scores")
    assert status == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "scores").exists()


def test_options_of_making_features_are_refused_of_features_that_are_there_or_told(made, tmp_path, caplog):
    for name in ("pool", "target"):
        arguments = ("--models", made / "proxy", "--examples", made / name, "--k", 16, "--out", tmp_path / name)
        assert main([*map(str, ("featurize", *arguments)), "--quiet"]) == 0
    calls = partial(thresher.score, targets={"t": tmp_path / "target"}), thresher.self_influence
    for number, call in enumerate(calls):
        for options in ({"parameters": "h"}, {"output": "loss"}):
            with pytest.raises(InputError, match="is of features to be made"):
                call(tmp_path / "pool", out=tmp_path / "scores", **options)
            assert not (tmp_path / "scores").exists()
        call(tmp_path / "pool", out=tmp_path / f"scores-{number}", k=64)
        assert caplog.text.count("k=64 is of features to be made") == number + 1
        call(tmp_path / "pool", out=tmp_path / f"scores-{number}-seed", seed=3)
        assert caplog.text.count("seed=3 is of features to be made") == number + 1
        call(tmp_path / "pool", out=tmp_path / f"scores-{number}-kept", evidence=tmp_path / "kept")
        assert (
            re.search("evidence=.*kept.* is of features to be made", caplog.text) and not (tmp_path / "kept").exists()
        )
        for models in (made / "proxy", [str(made / "proxy")]):
            with pytest.raises(InputError, match=r"models=.*proxy is of features to be made.*; leave it out"):
                call(tmp_path / "pool", out=tmp_path / "scores", models=models)


OTHERS = ("trak", "dual", "ekfac", "ekfac-cg", "trackstar")
OTHER = {"damping": 30.0, "curvature_damping": 5.0, "q": "none", "goal": "labels", "k": 24, "projection": "normal",
         "output": "loss", "parameters": "attn", "sample": 20, "steps": 1, "rank": 1}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["direction", "grad-cosine", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_what_a_scorer_takes_changes_its_scores_and_what_has_no_effect_is_told(made, tmp_path, caplog, name):
    """An option that `takes` names and the scores do not feel, or the other way round, would be a lie."""
    pool, targets, scorer = made / "pool", {"t": made / "target"}, SCORERS[name]
    small = {"k": 32} if "k" in scorer.takes else {}
    where = {"models": made / "proxy", "scorer": name, "device": "cpu", "evidence": tmp_path / "evidence"}
    own = thresher.score(pool, targets, out=tmp_path / name, **where, **small)
    for option, value in OTHER.items():
        asked, out = {**where, **small, option: value}, tmp_path / option
        if option not in scorer.takes | HOW:
            with pytest.raises(InputError, match="does not go with"):
                thresher.score(pool, targets, out=out, **asked)
        elif option not in scorer.takes:
            thresher.score(pool, targets, out=out, **asked)
            told = re.compile(rf"--{option}.* has no effect with scorer {re.escape(name)}")
            assert len([line for line in caplog.messages if told.fullmatch(line)]) == 1
            np.testing.assert_array_equal(column(out), column(own.path))
        elif option not in ("goal", "rank"):  # of texts without classes, and of one target, they say nothing
            found = thresher.score(pool, targets, out=out, **asked)
            assert not np.allclose(column(found.path), column(own.path), rtol=1e-6), option


def test_self_influence_is_of_projected_gradients(made, tmp_path, score):
    status, _, error = score("--self-influence", "--scorer", "dual", "--out", tmp_path / "own", targets=())
    assert status == 2 and "--self-influence does not go with --scorer dual" in error


def test_the_methods_without_features_need_prepared_examples(made, tmp_path, score):
    arguments = ("--models", made / "proxy", "--examples", made / "pool", "--k", 16, "--out", tmp_path / "features")
    assert main([*map(str, ("featurize", *arguments)), "--quiet"]) == 0
    status, _, error = score("--scorer", "dual", "--pool", tmp_path / "features", "--out", tmp_path / "scores")
    assert status == 2 and "holds 'features'" in error


@pytest.mark.parametrize(
    "name", ["ekfac", "ekfac-cg", "ekfac+bm25", "metagradient", "trackstar", "grad-cosine", "embedding", "bm25"]
)
def test_every_scorer_writes_the_same_kind_of_scores(made, tmp_path, score, name):
    status, result, error = score("--scorer", name, *small(name), "--out", tmp_path / "scores")
    assert status == 0 and result["kind"] == "scores", error
    values = column(tmp_path / "scores")
    assert np.isfinite(values).all() and values.std() > 0


@pytest.mark.parametrize("name", ["auto", "ekfac"])
def test_which_tokens_carried_the_scores_is_kept_on_request(made, tmp_path, score, name):
    status, _, error = score("--scorer", name, "--per-token", 4, "--out", tmp_path / "scores")
    assert status == 0, error
    table = thresher.open(tmp_path / "scores").tokens()
    read = pq.read_table(tmp_path / "scores/scores.parquet")
    scores = dict(zip(read["id"].to_pylist(), read["t"].to_pylist(), strict=True))
    sums = table.groupby("id").value.sum()
    assert len(sums) == 8 and table.text.map(len).sum() > 0
    np.testing.assert_allclose(sums, [scores[id] for id in sums.index], rtol=1e-3, atol=1e-4 * max(map(abs, sums)))


@pytest.mark.parametrize("name", ["trak", "direction", "ekfac-cg", "metagradient", "bm25"])
def test_what_a_scorer_takes_and_needs_is_said_before_it_begins(made, tmp_path, capsys, name):
    models = () if name == "bm25" else ("--models", made / "proxy")
    start = ("score", "--pool", made / "pool", *models, "--targets", f"t={made / 'target'}")
    for times in range(2):
        capsys.readouterr()
        assert main([*map(str, (*start, "--scorer", name, *small(name), "--out", tmp_path / "scores"))]) == 0
        said = capsys.readouterr().err.splitlines()
        if times == 0:
            assert re.fullmatch(LINES[name] + MEMORY, said[0]), said
        else:  # nothing is left to be done
            assert [line.partition("thresher: next: ")[0] for line in said] == [""]


MEMORY = r"; [\d.]+ [MG]B of memory at most"
LINES = {
    "trak": r"thresher: trak: about 1 pass over \d+ examples, 1 model; needs checkpoints; about .+ on this machine",
    "direction": r"thresher: direction: about 2.6 passes over \d+ examples, 1 model; needs checkpoints; about .+",
    "ekfac-cg": r"thresher: ekfac-cg: about .+ passes over \d+ examples, 1 model; needs checkpoints; about .+",
    "metagradient": r"thresher: metagradient: about 6.5 trainings of \d+ examples, 1 model; needs checkpoints of .+",
    "bm25": r"thresher: bm25: about 0 passes over \d+ examples; needs the texts",
}


def test_ekfac_and_bm25_together_are_the_sum_of_both_in_units_of_their_spread(made, tmp_path, score):
    columns = {}
    for name in ("ekfac", "bm25", "ekfac+bm25"):
        assert score("--scorer", name, "--out", tmp_path / name)[0] == 0
        column = pq.read_table(tmp_path / name / "scores.parquet")["t"].to_numpy()
        columns[name] = (column - column.mean()) / column.std()
    both = columns["ekfac"] + columns["bm25"]
    np.testing.assert_allclose(columns["ekfac+bm25"], both / both.std(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["bm25", "random"])
def test_models_and_evidence_are_told_to_a_scorer_without_models(made, tmp_path, caplog, name):
    given = {"models": made / "proxy", "evidence": tmp_path / "kept"}
    thresher.score(made / "pool", {"t": made / "target"}, scorer=name, out=tmp_path / "scores", **given)
    told = [
        line for line in caplog.messages if line.endswith(f"has no effect with scorer {name}, which needs no model")
    ]
    assert [line.split()[0] for line in told] == ["--models", "--evidence"]


def test_bm25_takes_no_model(made, tmp_path):
    arguments = ["score", "--scorer", "bm25", "--pool", made / "pool", "--targets", f"t={made / 'target'}"]
    assert main([*map(str, arguments), "--out", str(tmp_path / "scores"), "--quiet"]) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scorer", "ekfak"), "nearest: 'ekfac'"),
        (("--scorer", "ekfac", "--damping", 3), "its own is --curvature-damping"),
        (("--scorer", "direction", "--curvature-damping", 1), "does not go with --scorer direction"),
        (("--scorer", "ekfac", "--curvature-damping", 0), "--curvature-damping 0 cannot be"),
        (("--scorer", "trackstar", "--per-token", 3), "tokens share out the scores of direction, ekfac, ekfac-cg"),
        (("--per-token", 3, "--k", 8), "per_token=3 is of scores without projection"),
        (("--scorer", "bm25", "--top", 3), "--top does not go with --scorer bm25"),
        (("--scorer", "metagradient", "--window", 0), "window"),
    ],
)
def test_what_does_not_go_with_a_scorer_is_refused(made, tmp_path, score, options, said):
    status, _, error = score(*options, "--out", tmp_path / "scores")
    assert status == 2 and said in error and len(error.splitlines()) == 1
    assert not (tmp_path / "scores").exists()
