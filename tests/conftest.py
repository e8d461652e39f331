"""What many tests stand on: a small text corpus on disk, and the arithmetic that a run of the tests asks for."""

import os
from pathlib import Path

import pytest
import torch
from toy_corpus import write_corpus

# `highest`, `high` or `medium`: how exact float32 matrix products are (torch.set_float32_matmul_precision). Where the
# chip has faster and coarser ones, `medium` takes them, and every test must hold all the same.
# oneDNN has the same choice for convolutions, in its own variable ONEDNN_DEFAULT_FPMATH_MODE.
if precision := os.environ.get("THRESHER_TEST_MATMUL"):
    torch.set_float32_matmul_precision(precision)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus.jsonl")
