"""The command line as a person calls it, in a process of its own."""

import subprocess
import sys
from collections.abc import Sequence


def thresher(arguments: Sequence[str]) -> int:
    """`thresher ARGUMENTS`; returns its exit status."""
    return subprocess.run([sys.executable, "-m", "thresher", *arguments], check=False).returncode


def result_of(arguments: Sequence[str]) -> str:
    """What `thresher ARGUMENTS` prints on stdout; its progress stays on the screen. Ends this process if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "thresher", *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout
