"""Artefacts: directories that exist only when finished, say what they were made from, and refuse to be mixed.

The order of operations, which every maker goes through (`build`). Each step leaves a state from which the same call
again ends with the same bytes:

1. Something finished is at PATH: it is read and checked, another request is refused, and what an ended process left
   over (step 6) is cleared.
2. `.PATH.lock` is claimed (`claims`), and step 1 looked at again: another process may have finished in between.
3. `.PATH.partial` is made, and `.request.json` in it says whose work it is.
4. Each file, a piece, is written under a temporary name, flushed to disk and hashed; its seal in `.seals` is written
   and flushed; the file is renamed to its name and the folder flushed (`pieces`). Work that continues believes a piece
   only if the seal knows its hash.
5. All files are hashed, compared with their seals and flushed. `meta.json` comes last: the request, the facts, length
   and hash of every file, and a checksum of its own text. One rename to PATH publishes it, and the parent is flushed.
6. What only the work needed (`.state`, `.seals`, `.request.json`) is removed, then the lock.

A killed run, or a power cut, leaves `.PATH.partial`, whose sound pieces are the checkpoint of the work: the same
request continues there, another is refused, both values said. Whoever opens an artefact checks every byte of it first.
"""

from thresher.artifacts.artifact import SCHEMA, Artifact, is_artifact, open_artifact
from thresher.artifacts.building import Draft, build, discard
from thresher.artifacts.files import FULL, atomic_file, checked_json, hash_file, read_checked
from thresher.artifacts.libraries import LIBRARIES, library_version
from thresher.artifacts.pieces import is_sound, piece

__all__ = [
    "FULL",
    "LIBRARIES",
    "SCHEMA",
    "Artifact",
    "Draft",
    "atomic_file",
    "build",
    "checked_json",
    "discard",
    "hash_file",
    "is_artifact",
    "is_sound",
    "library_version",
    "open_artifact",
    "piece",
    "read_checked",
]
