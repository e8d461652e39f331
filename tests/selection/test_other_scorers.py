"""`dsdm:scorer=NAME` asks for scores by another scorer in the place of those given; nothing else changes."""

import typing

import numpy as np
import pytest

from thresher.errors import InputError
from thresher.scorers import SCORERS
from thresher.selection.choosing import select_by
from thresher.selection.evidence import Evidence
from thresher.selection.methods import needs_of
from thresher.selection.selectors.controls import Scorer

IDS = [f"e{i}" for i in range(10)]
UP, DOWN = np.arange(10.0), -np.arange(10.0)


def test_the_names_are_those_of_the_scorers():
    assert set(typing.get_args(Scorer)) == {"given", *SCORERS}


def test_the_scorers_scores_rank_and_are_made_once():
    asked = []

    def scored_by(scorer):
        asked.append(scorer)
        return {"t": DOWN}

    evidence = Evidence(IDS, scores={"t": UP}, scored_by=scored_by)
    assert set(select_by("dsdm", evidence, count=3).kept) == {9, 8, 7}
    assert set(select_by("dsdm:scorer=ekfac", evidence, count=3).kept) == {0, 1, 2}
    assert set(select_by("dsdm:scorer=ekfac", evidence, count=2).kept) == {0, 1}
    assert asked == ["ekfac"]


def test_given_scores_are_not_needed_then_and_what_is_needed_is_said():
    assert needs_of("dsdm:scorer=bm25") == ["scored_by"] and needs_of("dsdm") == ["scores"]
    with pytest.raises(InputError, match="scores by other scorers"):
        select_by("dsdm:scorer=ekfac", Evidence(IDS, scores={"t": UP}), count=3)
    with pytest.raises(InputError, match="scorer=nope is unknown"):
        select_by("dsdm:scorer=nope", Evidence(IDS, scores={"t": UP}), count=3)
    short = Evidence(IDS, scored_by=lambda scorer: {"t": UP[:4]})
    with pytest.raises(InputError, match="4 target scores for 10 examples"):
        select_by("dsdm:scorer=ekfac", short, count=3)
