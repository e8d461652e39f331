"""What a TRAKer is made with: parameters, projectors, computers, precision; and what is refused."""

import numpy as np
import pytest
import torch
import trak
from trak.gradient_computers import FunctionalGradientComputer
from trak.projectors import AbstractProjector, BasicProjector, NoOpProjector, ProjectionType
from trak.score_computers import BasicScoreComputer

from tests.attribution.traker.scripts import N, T, digits, mlp, resnet, same_scores, script, traker_of
from thresher.attribution import TRAKer
from thresher.errors import InputError


@pytest.mark.parametrize("names", [["3.weight", "1.bias"], ["3.bias"]])
def test_gradients_with_respect_to_some_parameters_are_those_of_traker(tmp_path, names):
    ours = same_scores([mlp()], *digits(), tmp_path, grad_wrt=names, proj_dim=9)
    assert set(ours.gradient_computer.coverage) == set(names)


def test_frozen_parameters_count_as_in_traker(tmp_path):
    model = mlp()
    model[1].weight.requires_grad_(False)
    same_scores([model], *digits(), tmp_path)


class Sums(AbstractProjector):
    """A projector of a user's own, which goes through the gradients by parameter."""

    def project(self, grads, model_id):
        assert isinstance(grads, dict)
        means = [g.flatten(1).unfold(1, 5, 5).mean(dim=2)[:, :7] for g in grads.values() if g[0].numel() > 40]
        return torch.cat(means, dim=1)

    def __init__(self):
        super().__init__(0, 14, 0, "sums", "cpu")


@pytest.mark.parametrize(
    "make",
    [
        Sums,
        lambda: BasicProjector(910, 110, 5, ProjectionType.rademacher, "cpu"),
        lambda: BasicProjector(910, 21, 5, "normal", "cpu", block_size=8),
    ],
)
def test_projectors_of_the_users_own_are_used(tmp_path, make):
    same_scores([mlp()], *digits(), tmp_path, projector=make(), lambda_reg=1e-2)


def test_no_projection_gives_the_scores_of_traker(tmp_path):
    same_scores([mlp()], *digits(), tmp_path, projector=NoOpProjector(device="cpu"), lambda_reg=1e-2)


class Halved(BasicScoreComputer):
    def get_scores(self, features, target_grads, accumulator):
        accumulator += features @ target_grads.T / 2


class Doubled(FunctionalGradientComputer):
    def compute_per_sample_grad(self, batch):
        return {name: 2 * gradient for name, gradient in super().compute_per_sample_grad(batch).items()}


def test_computers_of_the_users_own_are_used(tmp_path):
    same_scores([mlp()], *digits(), tmp_path, score_computer=Halved, gradient_computer=Doubled)


def test_sketches_by_name_give_features_of_the_same_scale(tmp_path):
    train, targets = digits()
    norms = []
    for name in (None, "sjlt", "mask+sjlt"):
        folder = tmp_path / str(name)
        ours, scores = script(TRAKer, [resnet()], train, targets, folder, projector=name, proj_dim=60, lambda_reg=1e-2)
        assert scores.shape == (N, T)
        ours.saver.load_current_store(0)
        norms.append(np.linalg.norm(ours.saver.current_store["grads"], axis=1))
    assert 0.6 < (norms[1] / norms[0]).mean() < 1.6
    assert 0.6 < (norms[2] / norms[0]).mean() < 1.6


def test_half_precision_stores_halves_of_the_same_projection(tmp_path):
    train, targets = digits()
    options = {"use_half_precision": True, "lambda_reg": 1e-2}
    theirs, _ = script(trak.TRAKer, [mlp()], train, targets, tmp_path, **options)
    ours, scores = script(TRAKer, [mlp()], train, targets, tmp_path, **options)
    assert scores.dtype == np.float16
    found, expected = (np.array(t.saver.current_store["grads"], dtype=np.float64) for t in (ours, theirs))
    assert np.abs(found - expected).max() < 1e-2 * np.abs(expected).max()


@pytest.mark.parametrize(
    "options, named",
    [
        ({"task": "speech"}, "task 'speech'"),
        ({"device": "cuda:77"}, "device 'cuda:77'"),
        ({"grad_wrt": ["5.weight"]}, "5.weight"),
        ({"projector": "two-sided"}, "projector 'two-sided'"),
        ({"proj_dim": 0}, "proj_dim=0"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(tmp_path, options, named):
    with pytest.raises(InputError, match=named) as error:
        traker_of(mlp(), tmp_path, **options)
    assert "\n" not in str(error.value)


def test_misuse_is_refused_in_one_line(tmp_path):
    model, (train, targets) = mlp(), digits()
    traker = traker_of(model, tmp_path)
    with pytest.raises(InputError, match="no checkpoint is loaded"):
        traker.featurize(train, num_samples=N)
    traker.load_checkpoint(model.state_dict(), model_id=0)
    with pytest.raises(InputError, match="exactly one"):
        traker.featurize(train)
    with pytest.raises(InputError, match=f"hold .{N}, {T}. examples"):
        traker.featurize((train[0], targets[1]), num_samples=N)
    with pytest.raises(InputError, match=f"holds {T} examples, but 20"):
        traker.featurize(targets, num_samples=20)
    with pytest.raises(InputError, match="train_set_size=90"):
        traker.featurize(targets, inds=np.arange(80, 80 + T))
    with pytest.raises(InputError, match="not finite"):
        traker.featurize((train[0] * 1e38, train[1]), inds=np.arange(N))
    traker.featurize(train, inds=np.arange(N))
    traker.finalize_features()
    with pytest.raises(InputError, match="experiment 't' does not exist"):
        traker.finalize_scores("t")
    with pytest.raises(InputError, match="start_scoring_checkpoint first"):
        traker.score(targets, num_samples=T)
    traker.start_scoring_checkpoint("t", model.state_dict(), 0, T)
    with pytest.raises(InputError, match="load_checkpoint first"):
        traker.featurize(train, num_samples=N)
    traker.score(targets, num_samples=T)
    with pytest.raises(InputError, match=r"holds float32 \[17, 24\], not float32 \[18, 24\]"):
        traker.start_scoring_checkpoint("t", model.state_dict(), 0, T + 1)
    with pytest.raises(InputError, match="JL dimension 24"):
        traker_of(model, tmp_path, proj_dim=25)


class Squared(trak.modelout_functions.AbstractModelOutput):
    """An output of a user's own, with a number of its own."""

    def __init__(self, power=2) -> None:
        self.power = power

    def get_output(self, model, weights, buffers, image, label):
        logits = torch.func.functional_call(model, (weights, buffers), (image[None],))
        return logits[0, label] ** self.power

    def get_out_to_loss_grad(self, model, weights, buffers, batch):
        return torch.ones(len(batch[0]), 1)


@pytest.mark.parametrize(
    ("other", "told"), [(Squared(3), "not Squared"), ("image_classification", "not ImageClassificationModelOutput")]
)
def test_features_of_another_output_are_not_used_again(tmp_path, other, told):
    model, (train, _) = mlp(), digits()
    for task in (Squared(), Squared()):
        traker = traker_of(model, tmp_path, task=task)
        traker.load_checkpoint(model.state_dict(), model_id=0)
        traker.featurize(train, inds=np.arange(N))
    with pytest.raises(InputError, match=rf"was featurised with task Squared \(\w+\), {told}"):
        traker_of(model, tmp_path, task=other).load_checkpoint(model.state_dict(), model_id=0)


def test_what_an_output_keeps_of_its_runs_makes_it_no_other(tmp_path):
    class Counting(Squared):
        def get_output(self, model, weights, buffers, image, label):
            self.calls = getattr(self, "calls", 0) + 1
            return super().get_output(model, weights, buffers, image, label)

    model, (train, targets) = mlp(), digits()
    traker = traker_of(model, tmp_path, task=Counting())
    traker.load_checkpoint(model.state_dict(), model_id=0)
    traker.featurize(train, inds=np.arange(N))
    traker.finalize_features()
    traker.start_scoring_checkpoint("t", model.state_dict(), 0, T)
    traker.score(targets, inds=np.arange(T))
    assert np.isfinite(traker.finalize_scores("t")).all() and traker.task.calls


@pytest.mark.parametrize("inds", [np.ones(4, bool), torch.ones(4).bool(), [True, False], np.arange(4.0), [0.5]])
def test_rows_are_whole_numbers(tmp_path, inds):
    model, (train, _) = mlp(), digits()
    traker = traker_of(model, tmp_path)
    traker.load_checkpoint(model.state_dict(), model_id=0)
    with pytest.raises(InputError, match=r"inds holds .*(bool|float).*np\.flatnonzero"):
        traker.featurize([one[: len(inds)] for one in train], inds=inds)
