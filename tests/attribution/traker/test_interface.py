"""traker's documented scripts, in small, with one import changed: the same scores, and what traker gets wrong, right.

The scripts are those of its documentation: quickstart (a ResNet on images), BERT on QNLI, CLIP, a custom model output,
and features made in several processes. Both packages get the same weights, batches and random seeds.
"""

import copy
import gc
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import trak
import transformers
from sklearn.datasets import load_digits
from torch import nn
from trak.gradient_computers import FunctionalGradientComputer, IterativeGradientComputer
from trak.modelout_functions import AbstractModelOutput, CLIPModelOutput, ImageClassificationModelOutput
from trak.projectors import AbstractProjector, BasicProjector, NoOpProjector, ProjectionType
from trak.score_computers import BasicScoreComputer

from thresher.attribution import TRAKer
from thresher.devices import full_float32
from thresher.errors import InputError

N, T = 90, 17


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Whatever the process allows: scripts of both packages run in the arithmetic that the comparison is of."""
    with full_float32():
        yield


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


def resnet(seed=0):
    """The quickstart's ResNet-9, small."""
    torch.manual_seed(seed)

    def block(channels, out, groups=1):
        convolution = nn.Conv2d(channels, out, 3, padding=1, groups=groups, bias=False)
        norm = nn.BatchNorm2d(out)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        return nn.Sequential(convolution, norm, nn.ReLU(inplace=True))

    inner = Residual(nn.Sequential(block(6, 6), block(6, 6, groups=2)))
    head = nn.Sequential(nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(24, 10, bias=False))
    return nn.Sequential(block(1, 6), nn.MaxPool2d(2), inner, head).eval()


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10)).eval()


def digits():
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images[: N + T] / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    labels = torch.tensor(labels[: N + T])
    return (images[:N], labels[:N]), (images[N:], labels[N:])


def batches(tensors, size=32):
    return [tuple(t[start : start + size] for t in tensors) for start in range(0, len(tensors[0]), size)]


def traker_of(model, folder, package=TRAKer, task="image_classification", **options):
    options = {"device": "cpu", "proj_dim": 24, "use_half_precision": False, "logging_level": logging.ERROR} | options
    return package(model=model, task=task, train_set_size=N, save_dir=str(folder), **options)


def script(package, models, train, targets, folder, task="image_classification", **options):
    """A traker script: every checkpoint featurised and finalised, then every checkpoint scored."""
    torch.manual_seed(3)
    traker = traker_of(copy.deepcopy(models[0]), folder / package.__module__.split(".")[0], package, task, **options)
    states = [{name: value.clone() for name, value in m.state_dict().items()} for m in models]
    for model_id, state in enumerate(states):
        traker.load_checkpoint(state, model_id=model_id)
        for batch in batches(train):
            traker.featurize(batch=batch, num_samples=len(batch[0]))
    # Scored first: with at most 100 features traker loses its projection in finalize_features.
    for model_id, state in enumerate(states):
        traker.saver.model_ids[model_id]["is_finalized"] = 1
        traker.start_scoring_checkpoint(exp_name="t", checkpoint=state, model_id=model_id, num_targets=T)
        for batch in batches(targets):
            traker.score(batch=batch, num_samples=len(batch[0]))
        traker.saver.model_ids[model_id]["is_finalized"] = 0
    traker.finalize_features()
    return traker, np.array(traker.finalize_scores(exp_name="t"))


def same_scores(models, train, targets, folder, theirs=None, **options):
    """Run both packages, traker with options of its own if need be; ours, after comparing."""
    _, expected = script(trak.TRAKer, models, train, targets, folder, **options | (theirs or {}))
    ours, found = script(TRAKer, models, train, targets, folder, **options)
    assert found.shape == expected.shape == (N, T)
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    return ours


@pytest.mark.parametrize("make, num, k, damping", [(mlp, 1, 24, 0.0), (resnet, 2, 24, 1.0), (resnet, 1, 130, 1.0)])
def test_the_quickstart_gives_the_scores_of_traker(tmp_path, make, num, k, damping):
    models = [make(seed) for seed in range(num)]
    ours = same_scores(models, *digits(), tmp_path, proj_dim=k, lambda_reg=damping)
    assert set(ours.gradient_computer.coverage.values()) <= {"conv2d", "batch norm", "linear"}
    assert ours.gradient_computer._reuses


def test_without_damping_scores_are_nearer_the_exact_ones_than_those_of_traker(tmp_path):
    """The kernel of the small ResNet has condition number 2e4; traker inverts it in float32."""
    results = [script(package, [resnet()], *digits(), tmp_path) for package in (TRAKer, trak.TRAKer)]
    store = results[0][0].saver
    store.load_current_store(0, "t", T)
    phi, targets = (store.current_store[name].astype(np.float64) for name in ("grads", "t_grads"))
    inverse = np.linalg.inv(phi.T @ phi)
    exact = phi @ (inverse / np.abs(inverse).mean()) @ targets.T * store.current_store["out_to_loss"]
    ours, theirs = (np.abs(scores - exact).max() / np.abs(exact).max() for _, scores in results)
    assert ours < 1e-6 < theirs < 1e-3


class BertForQnli(nn.Module):
    """The wrapper of traker's BERT tutorial, around a small model of random weights."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=61,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=24,
            max_position_embeddings=20,
            num_labels=2,
            attn_implementation="eager",
        )
        self.model = transformers.BertForSequenceClassification(config).eval()

    def forward(self, input_ids, token_type_ids, attention_mask):
        answer = self.model(input_ids=input_ids, token_type_ids=token_type_ids, attention_mask=attention_mask)
        return answer.logits


def sentences(num, seed):
    """Padded sequences of uneven length: input_ids, token_type_ids, attention_mask, labels."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 61, (num, 15), generator=generator)
    mask = (torch.arange(15) < torch.randint(4, 16, (num, 1), generator=generator)).long()
    types = (torch.arange(15) >= 3).long().expand(num, 15)
    return ids * mask, types * mask, mask, torch.randint(0, 2, (num,), generator=generator)


class NoVmap(FunctionalGradientComputer):
    """traker's vmap fails on the masks of newer versions of transformers (its issue 77); its gradients in a loop."""

    def compute_per_sample_grad(self, batch):
        differentiate = torch.func.grad(self.modelout_fn.get_output, argnums=1)
        given = self.model, self.func_weights, self.func_buffers
        rows = [differentiate(*given, *example) for example in zip(*batch, strict=True)]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def test_text_classification_gives_the_scores_of_traker(tmp_path):
    options = {"task": "text_classification", "theirs": {"gradient_computer": NoVmap}}
    ours = same_scores([BertForQnli()], sentences(N, 0), sentences(T, 1), tmp_path, **options)
    assert set(ours.gradient_computer.coverage.values()) == {"embedding", "linear", "layer norm"}
    assert ours.gradient_computer._reuses


class Clip(nn.Module):
    """Two encoders as open_clip calls them: (image embedding, text embedding, scale), with bare parameters."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.visual = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.GELU(), nn.Flatten(), nn.LayerNorm(36))
        self.projection = nn.Parameter(torch.randn(36, 8) / 6)
        self.words = nn.Embedding(30, 12)
        self.positions = nn.Parameter(torch.randn(7, 12) / 9)
        self.text = nn.Linear(12, 8)
        self.logit_scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, image, text):
        images = nn.functional.normalize(self.visual(image) @ self.projection, dim=-1)
        texts = nn.functional.normalize(self.text((self.words(text) + self.positions).tanh().mean(dim=1)), dim=-1)
        return images, texts, self.logit_scale.exp()


@pytest.mark.slow
def test_features_do_not_depend_on_batch_size(tmp_path):
    model, train, found = BertForQnli(), sentences(N, 0), []
    for size in (1, 13, N):
        traker = traker_of(model, tmp_path / str(size), task="text_classification")
        traker.load_checkpoint(model.state_dict(), model_id=0)
        for batch in batches(train, size):
            traker.featurize(batch, num_samples=len(batch[0]))
        found.append(np.array(traker.saver.current_store["grads"]))
    for other in found[1:]:
        assert np.allclose(other, found[0], rtol=1e-4, atol=1e-5 * np.abs(found[0]).max())


def pairs(num, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, 1, 8, 8, generator=generator), torch.randint(0, 30, (num, 7), generator=generator)


class ClipOutput(CLIPModelOutput):
    """traker's own returns Q as [b], which its store takes only for a batch of one."""

    def __init__(self):
        super().__init__(simulated_batch_size=11)

    def get_out_to_loss_grad(self, *args):
        return super().get_out_to_loss_grad(*args)[:, None]


def test_clip_draws_the_contrasts_that_traker_draws_and_gives_its_scores(tmp_path):
    model, train = Clip(), pairs(N, 0)
    TRAKer(model, "clip", N, tmp_path / "e", device="cpu", proj_dim=5, logging_level=40)  # task by name
    task = ClipOutput()
    our_task = TRAKer(model, CLIPModelOutput, N, tmp_path / "c", device="cpu", proj_dim=5, logging_level=40).task
    CLIPModelOutput.sim_batch_size = 11
    our_task.get_embeddings(model, batches(train), batch_size=32)
    assert CLIPModelOutput.num_computed_embeddings == N
    ours = same_scores([model], train, pairs(T, 1), tmp_path, task=task)
    exact = {"projection", "positions", "logit_scale"}
    assert {name for name, kind in ours.gradient_computer.coverage.items() if kind == "exact"} == exact


class Temperature(AbstractModelOutput):
    """A custom output as users write them, with an attribute of the model, in-place writes and random noise."""

    def __init__(self):
        super().__init__()

    @staticmethod
    def get_output(model, weights, buffers, image, label):
        logits = torch.func.functional_call(model, (weights, buffers), image.unsqueeze(0)) / model.temperature
        logits = logits + torch.randn_like(logits)
        others = logits.clone()
        first = torch.arange(1)
        others[first, label.unsqueeze(0)] = -torch.inf
        return (logits[first, label.unsqueeze(0)] - others.logsumexp(dim=-1)).sum()

    def get_out_to_loss_grad(self, model, weights, buffers, batch):
        images, labels = batch
        logits = torch.func.functional_call(model, (weights, buffers), images)
        return 1 - logits.softmax(dim=-1)[torch.arange(len(labels)), labels].detach()[:, None]


class Decayed(ImageClassificationModelOutput):
    """Depends on a weight beside the model's logits."""

    @staticmethod
    def get_output(model, weights, buffers, image, label):
        plain = ImageClassificationModelOutput.get_output(model, weights, buffers, image, label)
        return plain - image.sum() * weights["3.weight"].square().sum()


class InParts(ImageClassificationModelOutput):
    """Calls the model's layers, not the model."""

    @staticmethod
    def get_output(model, weights, buffers, image, label):
        hidden = torch.func.functional_call(
            model[1], {name[2:]: w for name, w in weights.items() if name[0] == "1"}, image.flatten().unsqueeze(0)
        )
        last = {name[2:]: w for name, w in weights.items() if name[0] == "3"}
        return torch.func.functional_call(model[3], last, hidden.relu())[torch.arange(1), label.unsqueeze(0)].sum()


class Twice(ImageClassificationModelOutput):
    """Calls the model on the image and on its mirror image."""

    @staticmethod
    def get_output(model, weights, buffers, image, label):
        seen = [torch.func.functional_call(model, (weights, buffers), i.unsqueeze(0)) for i in (image, image.flip(-1))]
        return (seen[0] - seen[1].square())[torch.arange(1), label.unsqueeze(0)].sum()


@pytest.mark.parametrize(
    "task, by_hooks", [(Temperature, 4), (Decayed, 3), (InParts, 0), (Twice, 0)], ids=lambda value: str(value)[-30:]
)
def test_custom_outputs_give_the_scores_of_traker(tmp_path, task, by_hooks):
    model = mlp()
    model.temperature = 0.7
    ours = same_scores([model], *digits(), tmp_path, task=task(), lambda_reg=10.0)
    assert sum(kind != "exact" for kind in ours.gradient_computer.coverage.values()) == by_hooks


class Swapped(ImageClassificationModelOutput):
    """Its Q is not that of the checkpoint: what the pass returned must not be used again."""

    def get_out_to_loss_grad(self, model, weights, buffers, batch):
        doubled = {name: 2 * weight for name, weight in weights.items()}
        return super().get_out_to_loss_grad(model, doubled, buffers, batch)


def test_q_of_other_weights_than_the_checkpoints_is_that_of_traker(tmp_path):
    ours = same_scores([mlp()], *digits(), tmp_path, task=Swapped())
    assert not ours.gradient_computer._reuses


def test_the_iterative_task_gives_the_scores_of_traker(tmp_path):
    options = {"task": "iterative_image_classification", "gradient_computer": IterativeGradientComputer}
    same_scores([resnet()], *digits(), tmp_path, lambda_reg=1.0, **options)


def test_the_iterative_task_needs_no_other_gradient_computer(tmp_path):
    options = {"task": "iterative_image_classification"}
    _, expected = script(
        trak.TRAKer, [mlp()], *digits(), tmp_path, gradient_computer=IterativeGradientComputer, **options
    )
    assert np.abs(script(TRAKer, [mlp()], *digits(), tmp_path, **options)[1] - expected).max() < 1e-4 * expected.max()


class InBatch(AbstractModelOutput):
    """Every output depends on the whole batch, which hooks cannot take apart."""

    def __init__(self):
        super().__init__()

    def get_output(self, model, weights, buffers, images, labels):
        logits = model(images)
        return logits[torch.arange(len(labels)), labels] - logits.mean(dim=0)[labels].square()

    def get_out_to_loss_grad(self, model, weights, buffers, batch):
        return torch.ones(len(batch[0]), 1)


def test_outputs_that_depend_on_the_batch_are_told_from_those_that_do_not(tmp_path):
    options = {"task": InBatch(), "gradient_computer": IterativeGradientComputer}
    ours = same_scores([mlp()], *digits(), tmp_path, **options)
    assert set(ours.gradient_computer.coverage.values()) == {"exact"}


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


def test_shuffled_batches_land_where_inds_say(tmp_path):
    train, targets = digits()
    _, expected = script(TRAKer, [mlp()], train, targets, tmp_path)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    model = mlp()
    traker = traker_of(model, tmp_path / "s")
    traker.load_checkpoint(model.state_dict(), model_id=0)
    for (inds,), batch in zip(batches((order,)), batches([t[order] for t in train]), strict=True):
        traker.featurize(batch, inds=inds)
    traker.finalize_features()
    traker.start_scoring_checkpoint("t", model.state_dict(), 0, T)
    traker.score(targets, inds=np.arange(T))
    assert np.allclose(traker.finalize_scores("t"), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_results_lie_where_traker_puts_them_and_it_reads_them(tmp_path):
    _, scores = script(TRAKer, [mlp()], *digits(), tmp_path)
    folder = tmp_path / "thresher"
    assert np.array_equal(np.lib.format.open_memmap(folder / "scores" / "t.mmap", mode="r"), scores)
    assert json.loads((folder / "id_0.json").read_text()) == {"0": {"is_featurized": 1, "is_finalized": 1}}
    assert json.loads((folder / "experiments.json").read_text())["t"]["scores_finalized"] == 1
    # Of some backends a file would be unpickled.
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {".mmap", ".json", ""}
    theirs = traker_of(mlp(), folder, trak.TRAKer)
    again = np.array(theirs.finalize_scores("t"))
    assert np.abs(again - scores).max() < 1e-4 * np.abs(scores).max()
    script(trak.TRAKer, [mlp()], *digits(), tmp_path)
    back = traker_of(mlp(), tmp_path / "trak").finalize_scores("t")
    assert np.abs(back - scores).max() < 1e-4 * np.abs(scores).max()


PROCESS = """
import os, sys
from tests.attribution.traker.test_interface import N, T, batches, digits, mlp, traker_of

folder, model_id, die_at = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
train, targets = digits()
model = mlp(model_id)
traker = traker_of(model, folder, load_from_save_dir=bool(die_at))
traker.load_checkpoint(model.state_dict(), model_id=model_id)
for number, batch in enumerate(batches(train, 20), 1):
    if number == die_at:
        os._exit(9)
    traker.featurize(batch, num_samples=len(batch[0]))
traker.finalize_features(model_ids=[model_id])
traker.start_scoring_checkpoint("t", model.state_dict(), model_id, T)
for batch in batches(targets):
    traker.score(batch, num_samples=len(batch[0]))
"""


def process(folder, model_id, die_at=0):
    return [sys.executable, "-c", PROCESS, str(folder), str(model_id), str(die_at)]


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_checkpoints_featurised_in_processes_of_their_own_are_gathered(tmp_path):
    _, expected = script(TRAKer, [mlp(0), mlp(1)], *digits(), tmp_path)
    running = [subprocess.Popen(process(tmp_path / "s", model_id), env=environment()) for model_id in (0, 1)]
    assert [each.wait(timeout=1200) for each in running] == [0, 0]
    scores = traker_of(mlp(), tmp_path / "s").finalize_scores(exp_name="t")
    assert np.allclose(scores, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
def test_a_run_that_was_killed_continues_with_the_examples_it_had_not_done(tmp_path, monkeypatch):
    train, targets = digits()
    _, expected = script(TRAKer, [mlp(0)], train, targets, tmp_path)
    folder, model = tmp_path / "s", mlp(0)
    # Killed by the system after three batches of 20 of the 90.
    killed = subprocess.run(process(folder, 0, die_at=4), env=environment(), timeout=1200)
    assert killed.returncode == 9
    again = traker_of(model, folder)
    again.load_checkpoint(model.state_dict(), model_id=0)
    seen = []
    original = type(again.gradient_computer).compute_per_sample_grad
    monkeypatch.setattr(
        type(again.gradient_computer),
        "compute_per_sample_grad",
        lambda self, batch: seen.append(len(batch[0])) or original(self, batch),
    )
    # Of other batches than before: 60 were done, so the second of 32, 32, 26 is half done.
    for batch in batches(train):
        again.featurize(batch, num_samples=len(batch[0]))
    assert seen == [32, 26]
    again.finalize_features()
    again.start_scoring_checkpoint("t", model.state_dict(), 0, T)
    again.score(targets, num_samples=T)
    assert np.allclose(again.finalize_scores("t"), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_a_run_killed_before_it_noted_its_last_batch_can_be_finalised(tmp_path):
    model, (train, _) = mlp(), digits()
    first = traker_of(model, tmp_path)
    first.load_checkpoint(model.state_dict(), model_id=0)
    first.featurize(train, num_samples=N)
    (tmp_path / "id_0.json").write_text(json.dumps({"0": {"is_featurized": 0, "is_finalized": 0}}))
    again = traker_of(model, tmp_path)
    again.load_checkpoint(model.state_dict(), model_id=0)
    assert again.featurize(train, num_samples=N) == 0
    again.finalize_features()
    assert again.saver.model_ids[0] == {"is_featurized": 1, "is_finalized": 1}


def test_scores_are_made_in_blocks_of_any_size(tmp_path, monkeypatch):
    models = [mlp(0), mlp(1)]
    _, whole = script(TRAKer, models, *digits(), tmp_path / "whole")
    monkeypatch.setattr("thresher.attribution.traker.kernel.BLOCK", 24 * 7)
    _, blocks = script(TRAKer, models, *digits(), tmp_path / "blocks")
    assert np.allclose(blocks, whole, rtol=1e-4, atol=1e-5 * np.abs(whole).max())


def test_targets_of_another_checkpoint_than_the_features_are_refused(tmp_path):
    model, other = mlp(0), mlp(1)
    traker = traker_of(model, tmp_path)
    traker.load_checkpoint({name: value.clone() for name, value in model.state_dict().items()}, model_id=0)
    traker.featurize(digits()[0], num_samples=N)
    traker.finalize_features()
    with pytest.raises(InputError, match=r"model_id 0 was featurised with weights \w+, not \w+"):
        traker.start_scoring_checkpoint("t", other.state_dict(), 0, T)
    with pytest.raises(InputError, match="projection normal of seed 0, not normal of seed 1"):
        traker_of(mlp(0), tmp_path, projector_seed=1).load_checkpoint(mlp(0).state_dict(), model_id=0)


def test_hooks_leave_the_model_with_the_traker(tmp_path):
    model = mlp()
    traker = traker_of(model, tmp_path)
    traker.load_checkpoint(model.state_dict(), model_id=0)
    traker.featurize(digits()[0], num_samples=N)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    del traker
    gc.collect()
    assert not any(module._forward_hooks for module in model.modules())


def test_random_streams_go_on_as_with_traker(tmp_path):
    drawn = []
    for package in (trak.TRAKer, TRAKer):
        model = mlp()
        model.temperature = 1.0
        traker = traker_of(model, tmp_path / package.__module__, package, task=Temperature())
        traker.load_checkpoint(model.state_dict(), model_id=0)
        torch.manual_seed(0)
        traker.featurize(digits()[0], num_samples=N)
        drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1]


def test_importing_attribution_does_not_load_traker():
    code = "import sys, thresher.attribution; assert not any(m == 'trak' or m.startswith('trak.') for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=1200)


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
