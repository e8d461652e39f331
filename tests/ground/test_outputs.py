"""The model output function against its definition, in float64 and by finite differences."""

import torch
from torch import nn

from thresher.outputs import logits_of, outputs_of


def definition(logits, labels):
    """log p and logit_y - logsumexp over the others, row by row, in float64."""
    logits = logits.double()
    logp = logits.log_softmax(dim=1)[torch.arange(len(labels)), labels]
    others = torch.stack(
        [torch.cat([row[:y], row[y + 1 :]]).logsumexp(0) for row, y in zip(logits, labels, strict=True)]
    )
    return logp, logits[torch.arange(len(labels)), labels] - others


def test_margin_and_loss_are_exact_in_float32_however_sure_the_model_is() -> None:
    torch.manual_seed(0)
    labels = torch.arange(11) % 7
    for lead in (-60.0, -3.0, 0.0, 3.0, 6.9, 7.0, 12.0, 60.0, 300.0):
        logits = torch.randn(11, 7)
        logits[torch.arange(11), labels] += lead
        logp, margin = definition(logits, labels)
        outputs = outputs_of(logits, labels)
        torch.testing.assert_close(outputs.margin.double(), margin, rtol=2e-5, atol=2e-5)
        torch.testing.assert_close(outputs.loss.double(), -logp, rtol=2e-5, atol=1e-6)
        torch.testing.assert_close(outputs.confidence.double(), logp.exp(), rtol=2e-5, atol=1e-6)
        # 1 - p to the precision of the margin, which near p = 1 is that of the float32 logits.
        doubt = (logp - margin).exp()
        torch.testing.assert_close(outputs.doubt.double(), doubt, rtol=1e-4, atol=float(torch.finfo().tiny))
        assert torch.equal(outputs.correct, (logits.argmax(1) == labels).float())


def test_gradients_equal_autograd_of_the_definition_also_where_p_rounds_to_one() -> None:
    torch.manual_seed(1)
    labels = torch.arange(11) % 7
    for lead in (-60.0, 0.0, 7.0, 120.0):
        logits = torch.randn(11, 7)
        logits[torch.arange(11), labels] += lead
        logits.requires_grad_()
        weights = torch.randn(2, 11)
        outputs = outputs_of(logits, labels)
        (found,) = torch.autograd.grad((weights[0] * outputs.margin + weights[1] * outputs.loss).sum(), logits)
        logp, margin = definition(logits, labels)
        (true,) = torch.autograd.grad((weights[0] * margin - weights[1] * logp).sum(), logits)
        torch.testing.assert_close(found, true, rtol=1e-4, atol=1e-6)


def test_gradients_equal_finite_differences() -> None:
    torch.manual_seed(2)
    logits = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[1, 2, 3, 0, 1], [-100, -100, 2, 2, -100], [0, 3, -100, -100, -100]])
    assert torch.autograd.gradcheck(lambda values: outputs_of(values, labels)[:2], (logits,))


def test_language_outputs_are_means_over_the_predicted_tokens_of_each_example() -> None:
    torch.manual_seed(3)
    logits = torch.randn(3, 6, 9)
    labels = torch.randint(0, 9, (3, 6))
    labels[1, :4] = -100
    labels[2] = -100
    outputs = outputs_of(logits, labels)
    for example, positions in enumerate([[1, 2, 3, 4, 5], [4, 5], []]):
        if not positions:
            assert all(float(value[example]) == 0 for value in outputs)
            continue
        before = [position - 1 for position in positions]
        single = outputs_of(logits[example, before], labels[example, positions])
        for together, alone in zip(outputs, single, strict=True):
            torch.testing.assert_close(together[example], alone.mean())


def test_groups_are_normalised_in_the_usual_layout_wherever_channels_lie():
    """Else the gradient of their weight alone ends the process under some versions of torch."""
    torch.manual_seed(0)
    seen = []
    norm = nn.GroupNorm(2, 4)
    model = nn.Sequential(nn.Conv2d(3, 4, 2, stride=2), norm, nn.Flatten(), nn.Linear(64, 3))
    norm.register_forward_hook(lambda _, args, __: seen.append(args[0].is_contiguous()))
    for memory_format in (torch.contiguous_format, torch.channels_last):
        images = torch.randn(2, 3, 8, 8).contiguous(memory_format=memory_format)
        logits = logits_of(model, {"pixel_values": images, "labels": torch.tensor([0, 1])})
        torch.testing.assert_close(logits, model(images))
        (gradient,) = torch.autograd.grad(logits.sum(), [norm.weight])
        assert gradient.isfinite().all()
    assert seen[0] and seen[2] and not norm._forward_pre_hooks
