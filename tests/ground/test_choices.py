"""Words that a person chooses among, and numbers of Python's verbs, are looked at before anything is done."""

import subprocess
import sys
from dataclasses import dataclass, field
from typing import Literal

import pytest

import thresher
from thresher.choices import PROJECTIONS, VIEWS, View, check_words, words_of
from thresher.errors import InputError

HEAVY = {"torch", "transformers", "sklearn", "pandas"}


@dataclass
class Table:
    kind: Literal["flat", "deep"] | None = None
    views: list[View] = field(default_factory=list)
    damping: float | Literal["loo"] = 1.0
    text: str = "anything"


def test_words_of_an_annotation():
    assert words_of(Literal["a", "b"] | None) == ("a", "b")
    assert words_of(list[View]) == VIEWS
    assert words_of(str | None) == words_of(float) == ()
    assert words_of(float | Literal["loo"]) == ("loo",)


def test_words_are_checked_in_lists_and_beside_numbers():
    check_words(Table())
    check_words(Table(kind="deep", views=["flip", "shift"], damping="loo"))
    for table, named in [
        (Table(kind="fat"), "table.kind = 'fat' is unknown (nearest: 'flat')"),  # type: ignore[arg-type]
        (Table(damping="a number"), "table.damping = 'a number' is unknown"),  # type: ignore[arg-type]
        (Table(damping="lo"), "table.damping = 'lo' is unknown (nearest: 'loo')"),  # type: ignore[arg-type]
        (Table(views=["flip", "shifts"]), "table.views = 'shifts' is unknown (nearest: 'shift')"),  # type: ignore[list-item]
    ]:
        with pytest.raises(InputError) as error:
            check_words(table, "table.{} =")
        assert str(error.value).startswith(named)


def test_the_library_knows_the_same_words():
    from thresher.attribution.gradients.projection import check_request
    from thresher.attribution.gradients.views import VIEWS as known_views

    assert (*known_views,) == VIEWS
    for name in PROJECTIONS:
        check_request(name, 4)


@pytest.mark.parametrize(
    ("verb", "options", "named"),
    [
        ("score", {"pool": "p", "targets": {"t": "t"}, "out": "o", "k": 10**12}, "k = 1000000000000 cannot be"),
        ("featurize", {"models": ["m"], "examples": "p", "out": "o", "k": 0}, "k = 0 cannot be"),
        ("train", {"model": "0.1M", "pool": "p", "out": "o", "epochs": float("nan")}, "epochs = nan cannot be"),
        ("select", {"scores": "s", "out": "o", "fraction": 1.5}, "fraction = 1.5 cannot be"),
        ("prepare", {"data": "d", "out": "o", "vocab_size": 10**9}, "vocab_size = 1000000000 cannot be"),
    ],
)
def test_verbs_refuse_numbers_before_they_open_anything(verb, options, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=named):
        getattr(thresher, verb)(**options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run", "study.toml"], "unknown key 'sise' (nearest: 'size')"),
        (["select", "--pool", ".", "--method", "dsdmm", "--out", "x"], "'dsdmm' is unknown (nearest: 'dsdm')"),
        (["train", "--pool", ".", "--optimizer", "adam", "--out", "x"], "'adam' is unknown (nearest: 'adamw')"),
        (["prepare", "--data", "study.toml", "--bad-rows", "skipp", "--out", "x"], "(nearest: 'skip')"),
        (["score", "--pool", ".", "--targets", "t=.", "--scorer", "ekfax", "--out", "x"], "(nearest: 'ekfac')"),
        (["lds", "--pool", ".", "--target", ".", "--scorers", "trakk", "--out", "x"], "(nearest: 'trak')"),
        (["featurize", "--models", ".", "--examples", ".", "--precision", "fp8", "--out", "x"], "'fp8' is unknown"),
    ],
)
def test_what_the_words_show_is_said_before_anything_heavy_is_loaded(words, named, tmp_path):
    (tmp_path / "study.toml").write_text('[pool]\ndata = "x"\n[target.t]\ndata = "x"\n[proxy]\nsise = "1M"\n')
    script = (
        "import sys; from thresher.cli.main import main; code = main(sys.argv[1:]); print(*sys.modules); exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and named in done.stderr, done.stderr
    assert not HEAVY & set(done.stdout.split()), HEAVY & set(done.stdout.split())
