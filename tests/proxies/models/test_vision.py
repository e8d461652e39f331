"""One learning rate for all widths of RN-k: how far activations move in training does not depend on the width."""

import subprocess
import sys
import textwrap
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F

from thresher.proxies import TrainConfig
from thresher.proxies.models.vision import BASE, Block, ResNet18

WIDTHS = ("1/8", "1/4", "1/2")
LAYERS = ("stem", "blocks.1", "blocks.3", "blocks.5", "blocks.7", "head")


def changes(width, is_scaled):
    """Layer -> mean change of its output over ten steps on one batch, from one initialisation."""
    torch.manual_seed(0)
    images, labels = torch.randn(32, 3, 16, 16), torch.randint(0, 10, (32,))
    model = ResNet18(Fraction(width), num_classes=10).train()
    if not is_scaled:
        with torch.no_grad():
            model.head.weight *= model.relative_width**0.5
        model.rate_multipliers = dict
    outputs = {}
    for name in LAYERS:
        model.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: outputs.update({name: output}))
    optimizer, first = TrainConfig.for_vision().make_optimizer(model, 0.1), {}
    for _ in range(10):
        loss = F.cross_entropy(model(images), labels)
        first = first or {name: output.detach() for name, output in outputs.items()}
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {name: float((outputs[name].detach() - first[name]).abs().mean()) for name in LAYERS}


def slopes(is_scaled):
    """Layer -> exponent of the width with which its change grows."""
    found = [changes(width, is_scaled) for width in WIDTHS]
    return {name: float(np.polyfit([0, 1, 2], np.log2([one[name] for one in found]), 1)[0]) for name in LAYERS}


def test_activations_move_alike_at_every_width_and_would_not_without_the_parametrisation():
    scaled, plain = slopes(True), slopes(False)
    assert max(map(abs, scaled.values())) < 0.2
    assert plain["stem"] < -0.3


def test_the_smallest_width_is_torch_s_own_and_the_decay_of_a_step_is_the_same_for_all():
    assert all(times == 1 for times in ResNet18(BASE, num_classes=3).rate_multipliers().values())
    model, config = ResNet18(Fraction(1, 4), num_classes=3), TrainConfig.for_vision()
    groups = config.make_optimizer(model, 0.1).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert rates[id(model.stem.weight)] == rates[id(model.bn.weight)] == 0.1 * 4
    assert rates[id(model.head.weight)] == 0.1 / 4 and rates[id(model.blocks[0].conv1.weight)] == 0.1
    decays = {group["lr"] * group["weight_decay"] for group in groups if group["weight_decay"]}
    assert len(decays) == 1 and decays.pop() == 0.1 * config.weight_decay


def test_the_pooled_stride_is_a_strided_convolution():
    torch.manual_seed(0)
    block, x = Block(4, 8, 2).double(), torch.randn(3, 4, 8, 8, dtype=torch.float64)
    convolution, norm = block.shortcut
    strided = norm(F.conv2d(x, convolution.weight, stride=2))
    hidden = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
    torch.testing.assert_close(block(x), F.relu(hidden + strided))


def test_a_batch_that_the_threads_do_not_divide_leaves_memory_alone():
    # A crash would take this process with it.
    code = """
        from fractions import Fraction
        import torch
        from thresher.proxies.models.vision import ResNet18
        torch.set_num_threads(2)
        model = ResNet18(Fraction("1/16"), num_classes=10)
        for _ in range(30):
            model(torch.randn(63, 3, 32, 32)).logsumexp(dim=1).sum().backward()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
