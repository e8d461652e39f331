"""Tiny real data as artefacts: the interpreter's own documentation as text, scikit-learn's digits as images."""

import argparse
import json
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from thresher.artifacts import build
from thresher.data.examples import ImageExamples, TokenExamples
from thresher.data.token_files import save_rows

VOCAB_SIZE, LENGTH = 131, 24


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _write_table(draft, ids, domains, texts=None):
    columns = {"id": ids, "domain": domains} | ({"text": texts} if texts else {})
    with draft.file("examples.parquet") as file:
        pq.write_table(pa.table(columns), file)


def write_text(path: Path, num_examples: int) -> TokenExamples:
    """Source code as bytes below 128, three domains (one per module), some examples short and some with a prompt."""
    sources = {module.__name__: Path(module.__file__).read_bytes() for module in (argparse, json, textwrap)}
    names = list(sources)
    domains = [names[0 if i % 10 < 6 else 1 if i % 10 < 9 else 2] for i in range(num_examples)]
    tokens = np.zeros((num_examples, LENGTH), dtype=np.uint16)
    spans = np.tile(np.array([LENGTH, 1, LENGTH], dtype=np.int32), (num_examples, 1))
    for i, domain in enumerate(domains):
        start = (i * 37) % (len(sources[domain]) - LENGTH)
        tokens[i] = np.frombuffer(sources[domain][start : start + LENGTH], dtype=np.uint8) % 128
        if i % 7 == 0:
            spans[i] = (LENGTH - i % 5, 1 + i % 3, LENGTH - i % 5)
            tokens[i, spans[i, 0] :] = 0

    def write(draft):
        _write_table(draft, [f"t{i}" for i in range(num_examples)], domains, [str(row.tobytes()) for row in tokens])
        return save_rows(draft, tokens, spans, vocab_size=VOCAB_SIZE)

    return TokenExamples(build(path, kind="text-examples", config={}, seed=0, inputs={}, write=write))


def write_digits(path: Path) -> ImageExamples:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[..., None] * 15.9375).astype(np.uint8)

    def write(draft):
        for name, array in {"images": images, "labels": digits.target.astype(np.int64)}.items():
            with draft.file(f"{name}.npy") as file:
                np.save(file, array)
        _write_table(draft, [f"d{i}" for i in range(len(images))], ["digits"] * len(images))
        return {"num_examples": len(images), "classes": [str(digit) for digit in range(10)]}

    return ImageExamples(build(path, kind="image-examples", config={}, seed=0, inputs={}, write=write))


@pytest.fixture(scope="session")
def text(tmp_path_factory) -> TokenExamples:
    return write_text(tmp_path_factory.mktemp("text") / "pool", 330)


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> ImageExamples:
    return write_digits(tmp_path_factory.mktemp("digits") / "pool")
