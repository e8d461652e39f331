import torch
from torch import nn

from thresher.outputs import logits_of


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
