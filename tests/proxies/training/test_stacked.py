"""A stack of networks against the same networks trained alone."""

import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.attribution.cases import digits
from thresher.errors import InputError
from thresher.proxies import TrainConfig, model_spec, train
from thresher.proxies.training import stacked as module
from thresher.proxies.training.stacked import MOST, Member, can_stack, groups_of, train_stack

CONFIGS = {
    "sgd": TrainConfig.for_vision(batch_size=16, epochs=3.0, learning_rate=0.05),
    "adamw, clipped": TrainConfig(batch_size=16, epochs=3.0, learning_rate=0.01, clip=0.5),
}


@pytest.fixture
def pool(tmp_path):
    return digits(tmp_path / "pool", slice(0, 200))


def members(folder, count=3, size=75):
    rng = np.random.default_rng(0)
    return [Member(folder / str(seed), seed, np.sort(rng.choice(200, size, replace=False))) for seed in range(count)]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_member_is_what_training_it_alone_gives(pool, tmp_path, name):
    spec, config = model_spec("mlp-16x2", pool), CONFIGS[name]
    together = train_stack(spec, pool, members(tmp_path / "stack"), config=config, device="cpu")
    for member, made in zip(members(tmp_path / "alone"), together, strict=True):
        alone = train(spec, pool, out=member.out, config=config, seed=member.seed, indices=member.indices, device="cpu")
        weights, expected = (load_file(one.file("model.safetensors")) for one in (made, alone))
        for key, value in expected.items():
            np.testing.assert_allclose(weights[key], value, atol=1e-5)
        np.testing.assert_allclose(made.facts["loss_curve"], alone.facts["loss_curve"], atol=1e-4)
        assert {k: v for k, v in made.facts.items() if k in ("flops", "num_steps", "passes", "num_examples_seen")} == {
            k: v for k, v in alone.facts.items() if k in ("flops", "num_steps", "passes", "num_examples_seen")
        }
        assert made.meta["config"] == alone.meta["config"] and made.meta["inputs"] == alone.meta["inputs"]


def test_what_is_there_stays_and_the_rest_is_made_by_the_whole_stack(pool, tmp_path, monkeypatch):
    """The last bits of a model may depend on those beside it, so a stack that ended between two members is repeated."""
    spec, config = model_spec("mlp-4x1", pool), CONFIGS["sgd"]
    every = members(tmp_path / "stack", count=4)
    first = train(spec, pool, out=every[1].out, config=config, seed=1, indices=every[1].indices, device="cpu")
    trained, original = [], module._train

    def counted(spec, examples, members, **options):
        trained.append(len(members))
        return original(spec, examples, members, **options)

    monkeypatch.setattr(module, "_train", counted)
    made = train_stack(spec, pool, every, config=config, device="cpu")
    assert trained == [4] and made[1].content_hash == first.content_hash
    train_stack(spec, pool, every, config=config, device="cpu")
    assert trained == [4]


def test_a_stack_that_ended_between_two_members_gives_the_same_bytes_again(pool, tmp_path):
    spec, config = model_spec("mlp-16x2", pool), CONFIGS["sgd"]
    whole, cut = members(tmp_path / "whole", count=5), members(tmp_path / "cut", count=5)
    expected = [made.content_hash for made in train_stack(spec, pool, whole, config=config, device="cpu")]
    train_stack(spec, pool, cut, config=config, device="cpu")
    for member in cut[2:]:
        shutil.rmtree(member.out)
    again = train_stack(spec, pool, cut, config=config, device="cpu")
    assert [made.content_hash for made in again] == expected


def test_runs_of_equal_size_are_grouped_for_the_workers_and_convolutions_stay_alone(pool):
    config, spec, other = CONFIGS["sgd"], model_spec("mlp-4x1", pool), model_spec("rn-1/16", pool)
    assert groups_of(spec, config, [5, 7, 5, 5], 1) == [[0, 2, 3], [1]]
    assert groups_of(spec, config, [5, 7, 5, 5], 2) == [[0, 2], [3], [1]]
    assert [len(group) for group in groups_of(spec, config, [5] * (MOST + 1), None)] == [MOST, 1]
    assert groups_of(other, config, [5, 5], 1) == [[0], [1]] and not can_stack(other, config)


def test_members_of_other_sizes_and_diverging_ones_are_refused(pool, tmp_path):
    spec = model_spec("mlp-4x1", pool)
    uneven = [*members(tmp_path / "a"), Member(tmp_path / "b", 9, np.arange(10))]
    with pytest.raises(InputError, match="same number"):
        train_stack(spec, pool, uneven, config=CONFIGS["sgd"], device="cpu")
    wild = TrainConfig.for_vision(batch_size=16, epochs=3.0, learning_rate=1e30)
    with pytest.raises(InputError, match="diverged"):
        train_stack(spec, pool, members(tmp_path / "wild"), config=wild, device="cpu")
