"""Pieces: the finished files of unfinished work, each with a seal, so that a damaged one is made again.

The seal of FOLDER/NAME is FOLDER/.seals/NAME: the hashes of the file that is about to get the name, and of the one that
has it now. It is on disk before the rename, so that at every moment the file under the name is one that it knows.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thresher.artifacts.files import hash_file, written_file

SEALS = ".seals"
logger = logging.getLogger(__name__)


@contextmanager
def piece(target: Path) -> Iterator[Path]:
    """A path to write to; the file appears under `target`, sealed, once the block ends without an error."""

    def seal(scratch: Path) -> None:
        hashes = [hash_file(scratch), *([hash_file(target)] if is_sound(target) else [])]
        with written_file(_seal(target)) as file:
            file.write_text(json.dumps(hashes))

    with written_file(target, before_rename=seal) as scratch:
        yield scratch


def is_sound(target: Path) -> bool:
    """Whether a piece is there as it was written; a damaged one is removed, with a warning, to be made again."""
    if not target.exists():
        return False
    if hash_file(target) in sealed_hashes(target):
        return True
    logger.warning("%s is damaged; it is made again", target)
    target.unlink(missing_ok=True)
    return False


def sealed_hashes(target: Path) -> list[str]:
    """The hashes that a piece may have; none where it has no seal, or a damaged one."""
    try:
        hashes = json.loads(_seal(target).read_bytes())
    except (FileNotFoundError, ValueError):
        return []
    return [str(each) for each in hashes] if isinstance(hashes, list) else []


def _seal(target: Path) -> Path:
    return target.parent / SEALS / target.name
