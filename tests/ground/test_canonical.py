"""What artefacts are known by: the same values have the same hash, in every process, version and under every name."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from thresher.canonical import hash_json, plain
from thresher.proxies.training.config import TrainConfig
from thresher.workspace import Workspace


def test_golden_hashes_of_plain_values():
    # Computed once by `printf '%s' JSON | sha256sum`: no release may change them unnoticed.
    assert hash_json({"b": [1, 2.5, None], "a": "\u00e9"}) == GOLDEN["mapping"]
    assert hash_json([]) == "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
    assert hash_json("text") == GOLDEN["text"]
    assert Workspace(Path("runs")).place("scores", ["ab", "cd"], 1.0, "sqrt").name == GOLDEN["place"]


GOLDEN = {
    "mapping": "fc10ba9755cfc69ce6c336075dcaa7bec5e27a5e3b43810a5952cd761f259a45",
    "text": "1e1d0f251d3a76fa2b1bfc81164078572623403887db02988b504b0492e9f076",
    "place": "scores-795dbbfe",
}


def test_the_same_values_in_another_order_or_container_are_the_same_request():
    assert hash_json({"a": 1, "b": (2, 3)}) == hash_json({"b": [2, 3], "a": 1})
    assert hash_json([np.int64(3), np.float64(0.5), np.bool_(True), np.str_("x")]) == hash_json([3, 0.5, True, "x"])
    assert hash_json(1) != hash_json(1.0) != hash_json("1") != hash_json(True)


@dataclass(frozen=True)
class Settings:
    size: int = 3


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [Settings()]}, "value.a[0] is a Settings, which is no plain value"),
        (Path("here"), "is a PosixPath"),
        ({"a": {1, 2}}, "value.a is a set"),
        ({1: "a"}, "has the key 1, which is a int"),
        ([float("nan")], "value[0] is nan"),
        (np.zeros(2), "is a ndarray"),
        (type("Name", (str,), {})("x"), "is a Name"),
        (TrainConfig(), "is a TrainConfig"),
    ],
)
def test_what_could_say_another_thing_tomorrow_is_refused(value, said):
    with pytest.raises(TypeError) as caught:
        hash_json(value)
    assert said in str(caught.value)


def test_facts_may_hold_numbers_that_are_not_finite():
    assert plain({"loss": float("inf")}, finite=False) == {"loss": float("inf")}
