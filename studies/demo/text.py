"""The text demo's data: the running Python's own standard library, cut into domains."""

import ast
import importlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from thresher.artifacts import atomic_file
from thresher.seeds import derive, numpy_rng

TOPICS = {
    "network code": "asyncio email http urllib xmlrpc socket ssl ftplib smtplib imaplib socketserver mailbox",
    "data code": "json csv sqlite3 xml html zipfile tarfile plistlib configparser dbm shelve pickle",
    "language code": "ast dis inspect importlib typing dataclasses enum abc tokenize symtable pydoc doctest",
    "number code": "statistics fractions decimal _pydecimal random numbers datetime _pydatetime calendar ipaddress",
    "system code": "os shutil subprocess pathlib tempfile logging threading multiprocessing concurrent argparse",
    "desktop code": "tkinter idlelib turtle turtledemo curses",
    "tests": "test",
    "data tables": "encodings stringprep keyword token",
}
PIECE = 1500
"""Characters in a document of the pool."""
DOMAIN_FILES, DOMAIN_PIECES = 50, 120
"""At most so many files and documents of a domain: the demo takes minutes whatever the installation holds."""

Row = tuple[str, str, str]


def write_text_demo(folder: Path, *, seed: int) -> None:
    """`pool.parquet` and `target.parquet` (id, domain, text); the target is documentation prose, held out."""
    library = Path(sysconfig.get_paths()["stdlib"])
    topics = sorted(importlib.import_module("pydoc_data.topics").topics.items())
    held_out = {name: derive(seed, "topic", name) % 2 == 0 for name, _ in topics}
    documents = [(f"topic {name}", "documentation", text) for name, text in topics if not held_out[name]]
    pool = [piece for row in (*documents, *_library_rows(library, seed)) for piece in _pieces(*row)]
    target = [
        piece for name, text in topics if held_out[name] for piece in _pieces(f"topic {name}", "documentation", text)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "pool.parquet", _thinned(pool, seed))
    _write(folder / "target.parquet", target)


def _library_rows(library: Path, seed: int) -> Iterator[Row]:
    """Source files by topic, and the docstrings of the code among them as a domain of their own."""
    for domain, modules in TOPICS.items():
        paths = [library / name for module in modules.split() for name in (f"{module}.py", module)]
        files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))]
        for position in numpy_rng(seed, "files", domain).permutation(len(files))[:DOMAIN_FILES]:
            name = files[position].relative_to(library).as_posix()
            try:
                text = files[position].read_text(encoding="utf-8")
                docstrings = "\n\n".join(_docstrings(ast.parse(text))) if domain.endswith("code") else ""
            except (UnicodeDecodeError, SyntaxError, ValueError, OSError):
                continue  # the standard library's tests hold files that are broken on purpose
            yield name, domain, text
            if docstrings:
                yield f"{name} docstrings", "docstrings", docstrings


def _docstrings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield docstring


def _pieces(name: str, domain: str, text: str) -> Iterator[Row]:
    for number, start in enumerate(range(0, len(text), PIECE)):
        yield f"{name} #{number}", domain, text[start : start + PIECE]


def _thinned(rows: list[Row], seed: int) -> list[Row]:
    """At most DOMAIN_PIECES rows a domain, drawn at random, in random order."""
    kept: list[Row] = []
    for domain in sorted({row[1] for row in rows}):
        own = [row for row in rows if row[1] == domain]
        chosen = numpy_rng(seed, "demo", domain).permutation(len(own))[:DOMAIN_PIECES]
        kept += [own[position] for position in sorted(chosen)]
    return kept


def _write(path: Path, rows: list[Row]) -> None:
    ids, domains, texts = zip(*rows, strict=True)
    with atomic_file(path) as file:
        pq.write_table(pa.table({"id": ids, "domain": domains, "text": texts}), file)
