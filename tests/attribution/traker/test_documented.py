"""traker's documented scripts, in small, with one import changed: the same scores, and what traker gets wrong, right.

The scripts are those of its documentation: quickstart (a ResNet on images), BERT on QNLI, CLIP, and the iterative task.
Both packages get the same weights, batches and random seeds.
"""

import numpy as np
import pytest
import torch
import trak
import transformers
from torch import nn
from trak.gradient_computers import FunctionalGradientComputer, IterativeGradientComputer
from trak.modelout_functions import CLIPModelOutput

from tests.attribution.traker.scripts import N, T, batches, digits, mlp, resnet, same_scores, script, traker_of
from thresher.attribution import TRAKer


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


def test_the_iterative_task_gives_the_scores_of_traker(tmp_path):
    options = {"task": "iterative_image_classification", "gradient_computer": IterativeGradientComputer}
    same_scores([resnet()], *digits(), tmp_path, lambda_reg=1.0, **options)


def test_the_iterative_task_needs_no_other_gradient_computer(tmp_path):
    options = {"task": "iterative_image_classification"}
    _, expected = script(
        trak.TRAKer, [mlp()], *digits(), tmp_path, gradient_computer=IterativeGradientComputer, **options
    )
    assert np.abs(script(TRAKer, [mlp()], *digits(), tmp_path, **options)[1] - expected).max() < 1e-4 * expected.max()
