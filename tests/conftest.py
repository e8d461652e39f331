"""What many tests stand on: a small text corpus on disk, and where real data is, if it is."""

import os
from pathlib import Path

import pytest
from toy_corpus import write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus.jsonl")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets, where they are (THRESHER_DATA, or ../shared/data beside the project)."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("THRESHER_DATA", default))
    if not path.is_dir():
        pytest.skip("no real data here; set THRESHER_DATA to run this test")
    return path
