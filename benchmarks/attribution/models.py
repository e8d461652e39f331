"""The networks that speed is measured on, of the shapes that attribution papers use, and random batches for them."""

import torch
from torch import Tensor, nn

Batch = dict[str, Tensor]


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def resnet9(width: int, classes: int = 10) -> nn.Module:
    """The ResNet-9 shape of CIFAR speed runs: 0.4 M parameters at width 16, 6.6 M at width 64."""

    def block(channels: int, out: int, pool: bool = False) -> nn.Module:
        layers = [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))

    w = width
    return nn.Sequential(
        block(3, w),
        block(w, 2 * w, pool=True),
        Residual(nn.Sequential(block(2 * w, 2 * w), block(2 * w, 2 * w))),
        block(2 * w, 4 * w, pool=True),
        block(4 * w, 8 * w, pool=True),
        Residual(nn.Sequential(block(8 * w, 8 * w), block(8 * w, 8 * w))),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(8 * w, classes),
    )


def gpt2(width: int = 256, layers: int = 4, vocabulary: int = 4096, positions: int = 128) -> nn.Module:
    import transformers

    config = transformers.GPT2Config(
        vocab_size=vocabulary, n_positions=positions, n_embd=width, n_layer=layers, n_head=max(width // 64, 1)
    )
    return transformers.AutoModelForCausalLM.from_config(config)


def resnet9_8(num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    return resnet9(8, num_classes)


def resnet9_16(num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    return resnet9(16, num_classes)


def resnet9_64(num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    return resnet9(64, num_classes)


def gpt2_4x256(vocab_size: int, sequence_length: int) -> nn.Module:
    # bergson refuses batches of more tokens than the model has positions, and its default batch has 2,048.
    return gpt2(vocabulary=vocab_size, positions=2048)


def images(num: int) -> Batch:
    return {"pixel_values": torch.randn(num, 3, 32, 32), "labels": torch.randint(0, 10, (num,))}


def tokens(num: int, length: int = 128, vocabulary: int = 4096) -> Batch:
    drawn = torch.randint(0, vocabulary, (num, length))
    return {"input_ids": drawn, "labels": drawn}


class Grey(nn.Module):
    """MNIST as its papers have it, from prepared images: one channel, zero mean and unit variance, flattened."""

    def forward(self, images: Tensor) -> Tensor:
        return (((images[:, :1] + 1) / 2 - 0.1307) / 0.3081).flatten(1)


def mnist_logistic(num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    return nn.Sequential(Grey(), nn.Linear(28 * 28, num_classes))


def mnist_mlp(num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    """784-128-64-10 with dropout .1: the MLP of dattri's MNIST benchmark."""
    hidden = [nn.Linear(28 * 28, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.1)]
    return nn.Sequential(Grey(), *hidden, nn.Linear(64, num_classes))


class BagOfTokens(nn.Module):
    """A language model without attention: the next token from the mean of the embeddings of those so far.

    For labels of short texts, where a few thousand examples are too few for a transformer from scratch.
    """

    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.hidden = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab_size, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        counts = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device)[:, None]
        means = self.norm(self.embedding(input_ids).cumsum(dim=1) / counts)
        return self.head(means + nn.functional.gelu(self.hidden(means)))


def bag_32(vocab_size: int, sequence_length: int) -> nn.Module:
    """67,000 parameters with a vocabulary of 1,024."""
    return BagOfTokens(vocab_size, 32)


def bag_96(vocab_size: int, sequence_length: int) -> nn.Module:
    """206,000 parameters with a vocabulary of 1,024."""
    return BagOfTokens(vocab_size, 96)
