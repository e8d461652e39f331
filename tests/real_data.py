"""Where real data sets are, if they are: THRESHER_DATA, or ../shared/data beside the project."""

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("THRESHER_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no real data here; set THRESHER_DATA to run this test")
