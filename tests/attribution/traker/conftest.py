"""Fixtures of the comparison with traker."""

from collections.abc import Iterator

import pytest

from thresher.devices import full_float32


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Whatever the process allows: scripts of both packages run in the arithmetic that the comparison is of."""
    with full_float32():
        yield
