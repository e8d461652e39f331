"""`thresher explore`: a page to look at what helped and what hurt."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from thresher.cli.command import Command, PlaceCheck, check_page, named_paths
from thresher.errors import InputError
from thresher.idle import Idle
from thresher.places import check_file_place
from thresher.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Explore(Command):
    """One page of scores and the examples that they are of: what helped each target, what hurt it, and what to keep.

    The page needs nothing but itself and opens from a mail; what has no room in it is said. Of a large pool --serve
    shows everything, on this machine alone. docs/explorer.md says what can be done in it.
    """

    makes = "file"
    idle = Idle(needs={"port": ("serve",)}, replaced={"page_mb": ("serve",), "out": ("serve",)})
    usage = "thresher explore scores --pool pool --targets squad=squad --selection subset"

    scores: tyro.conf.Positional[Path]
    """Scores, from `thresher score`, or an attribution, from `thresher attribute`."""
    pool: Path
    """The prepared pool that was scored."""
    targets: tuple[str, ...] = ()
    """NAME=PATH of the prepared targets, by the names they were scored under."""
    selection: Path | None = None
    """A selection of the pool: what was kept and dropped."""
    features: Path | None = None
    """The pool's features that the scores were made from: scores for every single target example, what each training
    example did to them, and how far the proxies agree."""
    target_features: tuple[str, ...] = ()
    """With --features: NAME=PATH of the targets' features."""
    models: tuple[str, ...] = ()
    """Models whose predictions of labelled examples are shown: for wrong labels."""
    lds: Path | None = None
    """How well such scores predict retraining, from `thresher lds`."""
    out: Path | None = None
    """The page; None: explorer.html in the current folder."""
    page_mb: float = 5.0
    """Megabytes of data in the page; of more the middle of the pool is left out first."""
    top: int = 20
    """The most helpful and the most harmful examples, so many of each, for every single target example."""
    serve: bool = False
    """No page but a server on this machine, over all of the data, until Ctrl-C."""
    port: int = 0
    """With --serve: the port; 0: any that is free."""
    device: str = "auto"

    def check(self) -> None:
        """Refuse also a page that is called otherwise."""
        super().check()
        check_page(self.out, "--out")

    def places(self) -> dict[str, tuple[Path, PlaceCheck]]:
        """The page, unless it is served."""
        return {} if self.serve else {"--out": (self._page, check_file_place)}

    @property
    def _page(self) -> Path:
        return self.out or Path("explorer.html")

    def run(self, progress: Progress) -> dict[str, Any]:
        """Write the page, or serve it."""
        from thresher.studies.explorer.explore import open_subject, write_explorer

        if not self.top:
            raise InputError("--top 0 shows nothing of single examples; give 1 or more")
        stores = named_paths(self.target_features, "--target-features") if self.target_features else {}
        subject = open_subject(
            self.scores,
            pool=self.pool,
            targets=named_paths(self.targets, "--targets") if self.targets else {},
            selection=self.selection,
            features=self.features,
            target_features=stores,
            models=self.models,
            lds=self.lds,
            commands=self._commands(),
            top=self.top,
            device=self.device,
            progress=progress,
        )
        if self.given("top") and not subject.has_pairs:
            raise InputError(
                f"--top changes nothing of {self.scores}, which are not of single target examples; give --features and "
                "--target-features, or leave --top out"
            )
        if self.serve:
            return self._serve(subject)
        return write_explorer(subject, self._page, self.page_mb)

    def _serve(self, subject: Any) -> dict[str, Any]:
        from thresher.studies.explorer.serving import Server

        with Server(subject, self.port) as server:
            print(f"thresher: {server.url} until Ctrl-C; who has this address can read the data", file=sys.stderr)
            server.serve_forever()
        return {"url": server.url}

    def _commands(self) -> dict[str, str]:
        """As they are typed where this one is: relative paths as they were given, absolute ones by their names."""
        words = ["thresher", "explore", _named(self.scores), "--pool", _named(self.pool)]
        for option in ("targets", "target_features"):
            entries = named_paths(getattr(self, option), "", at_least=0)
            if entries:
                words += [
                    f"--{option.replace('_', '-')}",
                    *(f"{name}={_named(path)}" for name, path in entries.items()),
                ]
        for option in ("selection", "features", "lds"):
            if getattr(self, option) is not None:
                words += [f"--{option}", _named(getattr(self, option))]
        words += ["--models", *(_named(Path(name)) for name in self.models)] if self.models else []
        return {
            "serve": shlex.join([*words, "--serve"]),
            "select": shlex.join(["thresher", "select", "--scores", _named(self.scores), "--out", "subset"]),
        }

    def show(self, result: Mapping[str, Any]) -> str:
        """Where the page is, and what is not in it."""
        if "url" in result:
            return f"served at {result['url']}"
        lines = [f"explorer: {result['explorer']} ({result['megabytes']} MB)"]
        if result["missing"]:
            lines.append(f"{result['missing']}; the others have no room in a page of {self.page_mb:g} MB: --serve")
        return "\n".join(lines)


def _named(path: Path) -> str:
    return path.name if path.is_absolute() else str(path)


COMMAND = Explore
