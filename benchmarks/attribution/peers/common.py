"""What the two sides of the comparison share: the command that starts runners, and the runners in their environments.

Nothing here imports torch: the starting process stays small, because a child's peak memory begins with its parent's.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
THREADS = 2
BATCH = 64
"""Images in a batch, of every runner and of the plain pass."""
TOKENS = 2048
"""Tokens in a batch of a language model: bergson's default."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One task for a runner. `models`, `pool` and `targets` are artefacts."""

    peer: str
    mode: str
    """ratio: rounds beside plain passes; prepare: inputs in the peer's own form; whole: the pass alone; scores."""
    models: tuple[str, ...]
    pool: str
    targets: str
    out: str
    """A folder for what the runner writes."""
    method: str = ""
    k: int = 512
    seconds: float = 30.0
    """How long rounds go on."""
    options: dict = field(default_factory=dict)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))


def read_job(path: Path) -> Job:
    return Job(**json.loads(path.read_text()))
