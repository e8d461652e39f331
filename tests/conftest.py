"""What many tests stand on: a small text corpus on disk."""

from pathlib import Path

import pytest
from toy_corpus import write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus.jsonl")
