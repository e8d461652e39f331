"""What a scorer takes, by hand from its parts, and the line that says so."""

import pytest

from thresher.scorers import SCORERS, Work, effort_of, said_before


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("trak", 1.0),
        ("dual", 1.0 + 0.005 * 1000),
        ("direction", 1.3 + 0.3 * 2 + (1.0 + 0.005 * 200) * 0.2),
        ("ekfac", 1.3 + 0.3 * 2 + 3.0 * 0.2),
        ("ekfac-cg", 1.3 + 0.3 * 2 + 3.0 * 0.2 + 2.0 * 4 * 3 * 0.256),
        ("metagradient", 6.5 + 3.3 * 2),
        ("bm25", 0.0),
    ],
)
def test_passes_add_up_from_the_parts(name, passes):
    work = Work(num_examples=1000, num_models=2, num_targets=3, sample=200, steps=4)
    assert work.passes(name) == pytest.approx(passes)
    assert sum(effort_of(name, work).values()) == pytest.approx(passes / (3 if name == "metagradient" else 1))
    doubled = Work(num_examples=1000, num_targets=3, sample=200, steps=4, views=2).passes(name)
    assert doubled == pytest.approx(passes * (1 if name == "metagradient" else 2))


def test_single_target_examples_meet_the_pool_in_one_pass():
    work = Work(num_examples=1000, num_targets=500, sample=200, each=True)
    assert work.passes("ekfac") == pytest.approx(1.3 + 3.0 * 0.2)
    assert work.passes("direction") == work.passes("dual")


def test_the_line_says_passes_needs_and_time():
    line = said_before(
        "ekfac", Work(num_examples=10_000, num_models=3, sample=0), 100.0, more=30.0, memory=2.5e9, note="a note"
    )
    assert line == (
        "ekfac: about 1.3 passes over 10,000 examples, 3 models; needs checkpoints; about 7 min on this machine; "
        "2.5 GB of memory at most; a note"
    )
    assert "on this machine" not in said_before("bm25", Work(num_examples=3), memory=1e9)


@pytest.mark.parametrize("name", SCORERS)
def test_every_scorer_has_a_line(name):
    assert said_before(name, Work(num_examples=5), 1.0, memory=1e9).startswith(f"{name}: about ")
