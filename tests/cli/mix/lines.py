"""Lines of `thresher mix`, and tables to give them."""

import csv
import json
from pathlib import Path

from tests.selection.mixture.cases import DOMAINS, TARGETS
from thresher.cli.main import main


def run(capsys, *arguments):
    """(status, the JSON object on stdout or None, stderr) of one `thresher mix` line."""
    capsys.readouterr()
    status = main(["mix", *map(str, arguments), "--json", "--quiet"])
    printed = capsys.readouterr()
    assert status == 0 or printed.out == ""
    return status, json.loads(printed.out) if printed.out else None, printed.err


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, weights, losses, domains=DOMAINS, targets=TARGETS) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"weight_{d}" for d in domains), *(f"loss_{t}" for t in targets)])
        writer.writerows([*w, *y] for w, y in zip(weights, losses, strict=True))
    return path
