"""A DataLoader gives what a selection keeps, and domains in the shares of a mixture."""

import numpy as np
import pytest
from torch.utils.data import DataLoader, WeightedRandomSampler

import thresher
from thresher.errors import InputError
from thresher.integrations import SelectionSampler, mixture_weights, selection_filter


@pytest.fixture(scope="module")
def pool(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("sampling") / "pool"
    return thresher.prepare(corpus, out=out, id="id", domain="source", vocab_size=300)


@pytest.fixture(scope="module")
def selection(pool):
    return thresher.select(pool=pool, method="random", count=9, out=pool.path.with_name("selection"))


def test_a_loader_gives_the_kept_examples_whatever_order_the_data_are_in(pool, selection):
    ids = list(pool.table()["id"])[::-1]
    sampler = SelectionSampler(selection, ids=ids, shuffle=False)
    assert [id for batch in DataLoader(ids, batch_size=4, sampler=sampler) for id in batch] == selection.ids
    by_position = SelectionSampler(selection, size=len(pool), shuffle=False)
    assert [ids[::-1][place] for place in by_position] == selection.ids and len(by_position) == 9


def test_each_epoch_has_an_order_of_its_own_that_its_seed_draws_again(pool, selection):
    first, again = (SelectionSampler(selection, size=len(pool), seed=1) for _ in range(2))
    epochs = [list(first) for _ in range(2)]
    assert epochs[0] != epochs[1] and sorted(epochs[0]) == sorted(epochs[1]) == sorted(selection.positions.tolist())
    again.set_epoch(1)
    assert list(again) == epochs[1]


def test_ids_that_do_not_fit_are_refused(pool, selection):
    ids = list(pool.table()["id"])
    for given, said in (
        ({}, "give one of them"),
        ({"size": 59}, "has 59 examples, but .* selects from 60"),
        ({"ids": [id for id in ids if id != selection.ids[0]]}, "is no id of the data set"),
        ({"ids": [*ids, ids[0]]}, "are not unique"),
    ):
        with pytest.raises(InputError, match=said):
            SelectionSampler(selection, **given)


@pytest.mark.parametrize("by_tokens", [True, False])
def test_domains_are_drawn_in_the_shares_of_the_mixture(pool, by_tokens):
    table = pool.table()
    lengths = table["length"].to_numpy() * (1 + 4 * (table["domain"] == "cooking").to_numpy())
    mixture = {"cooking": 3.0, "numbers": 1.0}
    weights = mixture_weights(table["domain"].to_numpy(), mixture, lengths=lengths if by_tokens else None)
    sizes = lengths if by_tokens else np.ones(len(pool))
    of = table["domain"].to_numpy()
    expected = {name: float((weights.numpy() * sizes)[of == name].sum()) for name in set(of)}
    assert expected == pytest.approx({"cooking": 0.75, "numbers": 0.25, "sailing": 0.0})
    loader = DataLoader(range(len(pool)), batch_size=500, sampler=WeightedRandomSampler(weights.tolist(), 4000))
    drawn = np.concatenate([batch.numpy() for batch in loader])
    share = sizes[drawn][of[drawn] == "cooking"].sum() / sizes[drawn].sum()
    assert share == pytest.approx(0.75, abs=0.05)


def test_a_mixture_that_cannot_be_drawn_is_refused():
    for mixture, said in (({}, "no shares"), ({"a": -1.0, "b": 2.0}, "no shares"), ({"c": 1.0}, "no example is of it")):
        with pytest.raises(InputError, match=said):
            mixture_weights(["a", "b"], mixture)
    with pytest.raises(InputError, match="1 lengths for 2 examples"):
        mixture_weights(["a", "b"], {"a": 1.0}, lengths=[1])


def test_row_numbers_are_no_ids_to_find_examples_by(corpus, tmp_path):
    rows = thresher.prepare(corpus, out=tmp_path / "pool", vocab_size=300)
    kept = thresher.select(pool=rows, method="random", count=9, out=tmp_path / "kept")
    numbers = np.random.default_rng(0).permutation(len(rows))  # a column of the data that is called id
    with pytest.raises(InputError, match="by their row numbers, which your ids are not; pass size="):
        SelectionSampler(kept, ids=numbers)
    by_row = SelectionSampler(kept, ids=np.arange(len(rows)), shuffle=False)
    assert list(by_row) == list(SelectionSampler(kept, size=len(rows), shuffle=False)) == kept.positions.tolist()
    with pytest.raises(InputError, match="knows documents by their row numbers"):
        selection_filter(kept)


def test_a_length_that_is_no_number_is_refused():
    with pytest.raises(InputError, match="give one of each, 0 or more"):
        mixture_weights(["a", "b"], {"a": 1.0, "b": 1.0}, lengths=[1.0, float("nan")])
