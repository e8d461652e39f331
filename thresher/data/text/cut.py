"""What is said of rows that do not fit into a sequence: how many, how much of them, and which length would do.

`prepare_text` counts the rows that it cuts and records them as the fact `cut` (`fitting.Cuts`). Here that fact becomes
the line that `thresher prepare` and a study's summary print, and the question whether it is worth a warning.
"""

from collections.abc import Mapping
from typing import Any

MOST = 0.5
"""A share of rows cut above which it is a warning."""


def cut_line(facts: Mapping[str, Any], length: int) -> str | None:
    """One line about the rows that were cut to `length` tokens, of an artefact with these facts; None if none was.

    It says how many rows were cut, how many tokens they lost, and which sequence length would keep 95 % of them whole.
    """
    cut = facts.get("cut")
    if not cut or not cut["num_rows"]:
        return None
    rows = f"{cut['num_rows']:,} of {facts['num_examples']:,} rows ({cut['share']:.1%}) were cut to {length} tokens"
    lost = f"{cut['num_tokens']:,} tokens lost ({cut['share_of_tokens']:.1%})"
    return f"{rows}, {lost}; a sequence length of {cut['length_for_95_percent']} would keep 95 % of them whole"


def is_most(facts: Mapping[str, Any]) -> bool:
    """Whether more than half of the rows were cut, so that a person should hear of it at once."""
    return (facts.get("cut") or {}).get("share", 0) > MOST
