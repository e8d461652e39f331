"""What is measured: pairs of a network with its data, and what each package does on them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    title: str
    model: str
    """A function of `benchmarks.attribution.models`."""
    examples: str
    """images or tokens."""


WORKLOADS = {
    "resnet9-0.4M": Workload("ResNet-9, 0.4 M parameters, CIFAR-10", "resnet9_16", "images"),
    "resnet9-6.6M": Workload("ResNet-9, 6.6 M parameters, CIFAR-10", "resnet9_64", "images"),
    "gpt2-4.7M": Workload("GPT-2 of 4 layers, width 256, vocabulary 4,096, 128 tokens", "gpt2_4x256", "tokens"),
}

LONG = 40_000
"""Images for about a minute of featurising, against which start-up is measured."""


@dataclass(frozen=True)
class Case:
    peer: str
    workload: str
    method: str
    k: int
    quick: bool = False
    """Whether `--quick` runs it."""
    num_examples: int = 512
    """Of the pass as a process of its own."""
    round_examples: int = 512
    """Of a round, where a round is a whole pass."""

    @property
    def name(self) -> str:
        return f"{self.peer} {self.workload} {self.method} {self.k}"


CASES = [
    Case("thresher", "resnet9-0.4M", "two-sided", 512, quick=True),
    Case("thresher", "resnet9-0.4M", "normal", 512, quick=True),
    Case("thresher", "resnet9-0.4M", "two-sided", 2048, quick=True),
    Case("thresher", "resnet9-0.4M", "normal", 2048, quick=True),
    Case("thresher", "resnet9-6.6M", "two-sided", 512, quick=True),
    Case("thresher", "gpt2-4.7M", "two-sided", 512, quick=True),
    Case("thresher", "gpt2-4.7M", "two-sided", 4096),
    Case("traker", "resnet9-0.4M", "BasicProjector normal", 512),
    Case("traker", "resnet9-0.4M", "BasicProjector normal", 2048),
    Case("traker", "gpt2-4.7M", "BasicProjector normal", 512, num_examples=64),
    Case("dattri", "resnet9-0.4M", "TRAK, normal", 512),
    Case("dattri", "resnet9-0.4M", "TRAK, normal", 2048, num_examples=128),
    Case("kronfluence", "resnet9-0.4M", "EK-FAC factors + scores", 0),
    Case("bergson", "gpt2-4.7M", "build, global", 512, num_examples=128, round_examples=32),
    Case("bergson", "gpt2-4.7M", "build, per module 16x16", 4096, round_examples=128),
]
"""Slow ones get fewer examples, so that none takes more than a minute or two. k of a method without projection is 0;
16 modules of 16 x 16 are 4,096 numbers."""


def pool_name(workload: str, num: int) -> str:
    return f"{WORKLOADS[workload].examples}-{num}"
