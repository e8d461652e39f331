"""A virtual environment for each peer, made when it is first asked for.

A peer's own environment holds the peer at its pinned version and whatever of its requirements the environment that
runs this lacks; a `.pth` file appends that environment's packages behind its own. So torch, several GB, is there once
and is the same build for all, pip refuses to pretend where versions disagree, and no peer sees another.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

from benchmarks.attribution.peers.common import ROOT

ENVIRONMENTS = ROOT / ".venv-peers"
VERSIONS = {"traker": "0.3.2", "dattri": "0.3", "kronfluence": "1.0.1", "bergson": "2.5.1"}
REMOVED = {"bergson": ["torchaudio"]}
"""Required by a peer but never imported by it, and in its last release (2.11) of another CUDA than torch, so that
transformers, which imports it where it is installed, fails to load and the peer with it."""


class NotInstalled(Exception):
    """What pip said when a peer did not install."""


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment, which is made if it is not there; NotInstalled where pip fails."""
    folder = ENVIRONMENTS / peer
    python, ready = folder / "bin" / "python", folder / f".ready-{VERSIONS[peer]}"
    if not ready.exists():
        _run([sys.executable, "-m", "venv", folder])
        (packages,) = folder.glob("lib/python*/site-packages")
        (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
        _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{peer}=={VERSIONS[peer]}"])
        if peer in REMOVED:
            _run([python, "-m", "pip", "uninstall", "--quiet", "--yes", *REMOVED[peer]])
        ready.touch()
    return python


def _run(command: list) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise NotInstalled((done.stderr or done.stdout).strip())
