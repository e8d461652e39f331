"""Model outputs of the user's own, as traker takes them."""

import pytest
import torch
import trak
from trak.gradient_computers import IterativeGradientComputer
from trak.modelout_functions import AbstractModelOutput, ImageClassificationModelOutput

from tests.attribution.traker.scripts import N, digits, mlp, same_scores, traker_of
from thresher.attribution import TRAKer


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
