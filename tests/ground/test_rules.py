"""Numbers among the arguments of Python's verbs keep the same rules as options and keys of a study."""

import inspect

import pytest

import thresher
from thresher.errors import InputError
from thresher.rules import RULES

VERBS = [name for name in thresher.__all__ if inspect.isfunction(getattr(thresher, name))]
CASES = [
    (verb, name)
    for verb in VERBS
    for name in inspect.signature(getattr(thresher, verb)).parameters
    if name in RULES and name != "seed"
]


@pytest.mark.parametrize(("verb", "name"), CASES)
def test_every_verb_refuses_a_number_that_no_use_allows_before_it_looks_at_anything_else(verb, name):
    """The other arguments are nothing that could be used."""
    function = getattr(thresher, verb)
    required = {
        each: "nothing"
        for each, parameter in inspect.signature(function).parameters.items()
        if parameter.default is inspect.Parameter.empty and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    with pytest.raises(InputError, match=rf"^{name} = .+ cannot be; give a number "):
        function(**required | {name: float("nan")})


def test_all_verbs_with_numbers_are_looked_at():
    assert {"featurize", "score", "explore", "lds", "validate", "select", "search"} <= {verb for verb, _ in CASES}
