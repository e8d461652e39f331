"""Arms that hold documents of any lengths are trained on exactly the same number of tokens, in as many steps."""

import json
import random

import numpy as np
import pytest

from thresher.cli.main import main
from thresher.data.examples import open_examples
from thresher.proxies import TrainConfig
from thresher.proxies.settings import ModelSettings
from thresher.proxies.training.order import Order
from thresher.studies.experiments.training_sets import TrainingSet, plan_trials, random_set
from thresher.studies.experiments.validation import ValidationPlan, read_runs, run_reference, validate
from thresher.studies.report.sentences import held_lines
from thresher.workspace import Workspace

WORDS = "boil the rice with salt and stir soup then bake bread in a hot oven".split()
LENGTHS = [1, 2, 3, 5, 8, 400, 1, 1, 60, 2, 90, 4, 7, 1, 33, 2, 2, 150, 6, 12] * 3
KINDS = {"documents": [], "rows": ["--prompt", "ask", "--continuation", "text"], "classes": ["--classify", "kind"]}


@pytest.fixture(scope="module", params=KINDS)
def made(request, tmp_path_factory):
    """A pool of documents of 1 to 400 words, as whole text, as prompts with continuations, or with classes."""
    root, draw = tmp_path_factory.mktemp(request.param), random.Random(0)
    rows = [
        {"text": " ".join(draw.choices(WORDS, k=length)), "ask": "say", "kind": draw.choice(["hot", "cold"])}
        for length in LENGTHS
    ]
    (root / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "target.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:9]))
    options = ["--vocab-size", "300", "--sequence-length", "64", "--quiet", *KINDS[request.param]]
    assert main(["prepare", "--data", str(root / "pool.jsonl"), *options, "--out", str(root / "pool")]) == 0
    target = ["--data", str(root / "target.jsonl"), "--tokenizer", str(root / "pool-tokenizer")]
    assert main(["prepare", *target, *options, "--out", str(root / "target")]) == 0
    return root


def arms_of(pool):
    """The longest document with some short ones, all short ones, every other one, and one that is kept three times."""
    lengths = pool.lengths()
    by_length = np.argsort(lengths, kind="stable")
    few = np.r_[by_length[-1:], by_length[:12]]
    return [
        TrainingSet.of("huge first", few),
        TrainingSet.of("short", by_length[:50]),
        TrainingSet.of("every other", np.arange(0, len(pool), 2)),
        TrainingSet.of("repeated", np.repeat(by_length[20:40], 3)),
        random_set(lengths, int(lengths[few].sum()), num_repeats=2, seed=0),
    ]


def test_every_arm_sees_the_budget_to_the_token(made):
    pool = open_examples(made / "pool")
    lengths, recipe = pool.lengths(), TrainConfig(batch_size=4, epochs=2.0)
    arms = arms_of(pool)
    budget = min(int(lengths[arm.draw(repeat).positions].sum()) for arm in arms for repeat in range(2))
    for arm in arms:
        order = Order(pool, arm.draw(0).positions, None, recipe, seed=1, budget=budget)
        owners = np.concatenate([order.batch(step).owners.ravel() for step in range(order.num_steps)])
        assert (owners >= 0).sum() == 2 * budget
        assert set(owners[owners >= 0].tolist()) <= set(arm.draw(0).positions.tolist())


def test_a_validation_of_unequal_arms_trains_equally_and_says_what_they_hold(made, tmp_path):
    pool, target = open_examples(made / "pool"), open_examples(made / "target")
    model = ModelSettings(size="20k", batch_size=4)
    artifact = validate(
        pool,
        arms_of(pool),
        {"t": target},
        {},
        model=model,
        plan=ValidationPlan(num_seeds=2, workers=1, random_budgets=(0.5, 2)),
        seed=0,
        workspace=Workspace(tmp_path, "cpu"),
    )
    facts, lengths = artifact.facts, pool.lengths()
    by_hand = {arm.name: [int(lengths[arm.draw(r).positions].sum()) for r in range(2)] for arm in arms_of(pool)}
    assert facts["budget"] == min(map(min, by_hand.values())) and facts["unit"] == "tokens"
    assert {arm: (held["smallest"], held["largest"]) for arm, held in facts["held"].items()} == {
        arm: (min(held), max(held)) for arm, held in by_hand.items()
    }
    rows = read_runs(artifact.path)
    seen = {arm: {row["seen"] for row in rows if row["arm"] == arm} for arm in {row["arm"] for row in rows}}
    budget = facts["budget"]
    assert all(seen[arm] == {budget} for arm in by_hand)
    assert (seen["random x 0.5"], seen["random x 2"]) == ({round(0.5 * budget)}, {2 * budget})
    flops = {row["flops"] for row in rows if row["arm"] in by_hand}
    assert len(flops) == 1
    (line,) = held_lines(facts)
    assert f"an epoch of every arm is {budget:,}" in line and "tokens" in line


def test_arms_of_documents_take_as_many_steps(made, tmp_path):
    pool, target = open_examples(made / "pool"), open_examples(made / "target")
    arms = arms_of(pool)
    runs = run_reference(
        pool,
        ModelSettings(size="20k", batch_size=4),
        plan_trials(arms, 1, budget=100, seed=0, stream="reference"),
        {"t": target},
        workers=1,
        workspace=Workspace(tmp_path, "cpu"),
    )
    assert {run.model.facts["num_tokens_seen"] for run in runs} == {100}
    if pool.layout.packed:  # rows are sequences of their own, so an arm may have fewer of them than steps
        assert {run.model.facts["num_steps"] for run in runs} == {1}


def test_random_draws_nest_and_reach_any_budget():
    lengths = np.array([3, 50, 2, 9, 400, 1])
    small, large, passes = (random_set(lengths, budget, num_repeats=2, seed=5) for budget in (40, 300, 1000))
    for repeat in range(2):
        assert set(small.draw(repeat).positions) <= set(large.draw(repeat).positions)
        assert lengths[large.draw(repeat).positions].sum() >= 300
        counts = np.bincount(passes.draw(repeat).positions, minlength=6)
        assert lengths[passes.draw(repeat).positions].sum() >= 1000 and counts.min() >= 2 and counts.max() <= 3
    assert small.draw(0).positions.tolist() != small.draw(1).positions.tolist()
