"""What many tests stand on: a small text corpus on disk, and the arithmetic that a run of the tests asks for."""

import os
import random
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

from tests import check_anew
from tests.toy_corpus import write_corpus

# The same few examples in every run; HYPOTHESIS_PROFILE=soak draws others, and many.
SLOW = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture]
SHARED = {"deadline": None, "database": None, "suppress_health_check": SLOW}
hypothesis.settings.register_profile("fast", derandomize=True, max_examples=30, **SHARED)
hypothesis.settings.register_profile("soak", max_examples=3000, **SHARED)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

# Each of several test processes keeps to one core: more threads and fleets would only be in each other's way.
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) % len(cores)]})

# `highest`, `high` or `medium`: how exact float32 matrix products are (torch.set_float32_matmul_precision). Where the
# chip has faster and coarser ones, `medium` takes them, and every test must hold all the same.
# oneDNN has the same choice for convolutions, in its own variable ONEDNN_DEFAULT_FPMATH_MODE.
if precision := os.environ.get("THRESHER_TEST_MATMUL"):
    torch.set_float32_matmul_precision(precision)


@pytest.fixture(scope="session", autouse=True)
def _timed_once():
    """Before work one step is timed, where a person's commands time a tenth of a second of them."""
    from thresher.proxies import planned
    from thresher.studies.scoring import effort

    planned.SHORT = effort.SHORT = 0.0


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus.jsonl")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What a test draws is drawn again each time: no test is right only most of the time."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def checked_anew() -> None:
    """Types and shapes are checked at the first calls of every test, whatever ran before it."""
    check_anew()
