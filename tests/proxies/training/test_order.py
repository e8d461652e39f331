"""Whole documents in packed sequences: what a run sees is exact to the token."""

import gc
import weakref
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.proxies.conftest import write_digits, write_text
from thresher.artifacts import build
from thresher.data.examples import TokenExamples
from thresher.data.token_files import Layout, TokenWriter
from thresher.devices import full_float32
from thresher.errors import InputError
from thresher.proxies import TrainConfig, model_spec, train
from thresher.proxies.evaluation import evaluate
from thresher.proxies.models.spec import build_model
from thresher.proxies.settings import ModelSettings
from thresher.proxies.training.chosen import spec_of, train_config_of
from thresher.proxies.training.order import Order
from thresher.proxies.training.request import check_mixture

LENGTH, END = 8, 0
SIZES = [3, 1, 12, 5, 30, 8, 7, 2, 21, 4]


def write_documents(path, sizes) -> TokenExamples:
    """Packed documents of so many tokens and the end token; each token names its document."""

    def write(draft):
        layout = Layout(sequence_length=LENGTH, vocab_size=50, end_token=END, packed=True)
        layout.save(draft)
        with TokenWriter(draft, layout) as writer:
            for number, size in enumerate(sizes):
                writer.append(np.append(np.full(size, number % 49 + 1), END), 1)
        ids = [f"d{number}" for number in range(len(sizes))]
        with draft.file("examples.parquet") as file:
            pq.write_table(pa.table({"id": ids, "domain": ["ab"[number % 2] for number in range(len(ids))]}), file)
        return writer.facts()

    return TokenExamples(build(path, kind="text-examples", config={}, seed=0, inputs={}, write=write))


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> TokenExamples:
    """Ten documents of 2 to 31 tokens."""
    return write_documents(tmp_path_factory.mktemp("documents") / "pool", SIZES)


def stream(order: Order) -> tuple[np.ndarray, np.ndarray]:
    """All tokens that a run sees, and whose they are."""
    drawn = [order.batch(step) for step in range(order.num_steps)]
    tokens = np.concatenate([one.batch["input_ids"].numpy()[one.owners >= 0] for one in drawn])
    return tokens, np.concatenate([one.owners[one.owners >= 0] for one in drawn])


def order_of(documents, indices, *, budget=None, mixture=None, seed=3, **config) -> Order:
    config = TrainConfig(**{"shuffle_sequences": False} | config)
    return Order(documents, np.asarray(indices), mixture, config, seed=seed, budget=budget)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_an_epoch_is_every_document_whole_in_a_drawn_order_whatever_the_batch(documents, batch_size, epochs):
    order = order_of(documents, range(10), batch_size=batch_size, epochs=float(epochs))
    tokens, owners = stream(order)
    held = int(documents.lengths().sum())
    assert len(tokens) == epochs * held == order.num_units
    for epoch in range(epochs):
        own, whose = tokens[epoch * held : (epoch + 1) * held], owners[epoch * held : (epoch + 1) * held]
        assert sorted(dict.fromkeys(whose.tolist())) == list(range(10))
        for number in range(10):
            assert own[whose == number].tolist() == documents.tokens[number].tolist()
    assert order.num_steps == -(-epochs * held // (batch_size * LENGTH))


@pytest.mark.parametrize("budget", [1, 7, 8, 23, 40, 93, 94, 200, 301])
@pytest.mark.parametrize("indices", [[4], [0, 1, 2], [7, 7, 3], list(range(10))])
def test_runs_with_one_budget_see_exactly_as_much_in_as_many_steps(documents, budget, indices):
    order = order_of(documents, indices, budget=budget, epochs=2.0, batch_size=2)
    tokens, owners = stream(order)
    assert len(tokens) == order.num_units == 2 * budget
    assert order.num_steps == -(-2 * budget // (2 * LENGTH))
    assert set(owners.tolist()) <= set(indices)


def test_what_a_budget_leaves_out_stands_at_the_end_of_the_order(documents):
    whole, part = (stream(order_of(documents, range(10), budget=budget))[0] for budget in (None, 60))
    assert part.tolist() == whole[:60].tolist()


def test_a_mixture_gives_each_domain_its_share_of_the_tokens_exactly(documents):
    order = order_of(documents, range(10), budget=80, mixture={"a": 0.7, "b": 0.3}, epochs=3.0)
    _, owners = stream(order)
    assert np.bincount(owners % 2).tolist() == [3 * 56, 3 * 24]
    assert order.passes()["b"] == pytest.approx(3 * 24 / documents.lengths()[1::2].sum())


def test_padding_and_the_first_token_of_a_sequence_are_not_predicted(documents):
    order = order_of(documents, range(10), batch_size=4)
    drawn = order.batch(order.num_steps - 1)
    labels = drawn.batch["labels"].numpy()
    assert (labels[:, 0] == -100).all() and ((labels != -100)[:, 1:] == (drawn.owners >= 0)[:, 1:]).all()


def test_a_weight_of_zero_takes_a_document_out_of_the_loss_wherever_it_stands(documents, tmp_path):
    spec, config = (
        model_spec("60k", documents),
        TrainConfig(batch_size=4, epochs=2.0, learning_rate=1e-3, precision="float32"),
    )
    weights = np.ones(10)
    weights[[4, 8]] = 0
    made = {
        value: train(spec, documents, out=tmp_path / str(value), config=config, seed=0, weights=weights * value)
        for value in (1.0, 2.0)
    }
    one, two = (made[value].facts["loss_curve"] for value in (1.0, 2.0))
    assert two[0] == pytest.approx(2 * one[0], rel=1e-5)
    assert made[1.0].facts["num_tokens_seen"] == 2 * documents.lengths().sum()


def test_the_loss_of_a_document_in_windows_is_the_mean_over_its_predicted_tokens(documents):
    model = build_model(model_spec("60k", documents), 1).eval()
    found = evaluate(model, documents, batch_size=3)
    for number in (2, 4):
        windows, member = documents.windows_of([number])
        assert len(windows) > 1 and set(member) == {0}
        batch = documents.batch(windows)
        with torch.no_grad(), full_float32():
            logits = model(input_ids=batch["input_ids"]).logits[:, :-1].log_softmax(-1)
        labels = batch["labels"][:, 1:]
        kept = labels != -100
        expected = -logits[kept].gather(1, labels[kept][:, None]).mean()
        assert found["loss"][number] == pytest.approx(float(expected), rel=1e-5)


def test_the_windows_of_a_document_are_examples_of_their_own_on_request(documents):
    parts = documents.by_window()
    assert len(parts) == len(documents.windows.example) > len(documents)
    whole, count = parts.ids[0].split(":"), np.bincount(documents.windows.example)
    assert whole == ["d0", "0"] and sum(one.startswith("d4:") for one in parts.ids) == count[4] == 4
    assert parts.lengths().sum() == documents.windows.lengths.sum()
    assert parts.content_hash != documents.content_hash and len(parts.domains) == len(parts)


def test_a_budget_of_nothing_is_refused(documents):
    with pytest.raises(InputError, match="a budget of 0 trains on nothing"):
        order_of(documents, [1], budget=0)


def test_an_order_lets_go_of_its_examples_and_their_open_files_once_nobody_holds_it(documents):
    order = order_of(documents, range(10), epochs=3)
    for step in range(order.num_steps):
        order.batch(step)
    held = weakref.ref(order)
    gc.disable()
    try:
        del order
        assert held() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("batch_size, epochs", [(1, 1), (3, 1.4), (4, 2.7)])
def test_shuffled_sequences_are_those_of_each_epoch_in_another_order_and_a_short_one_stays_last(
    documents, batch_size, epochs
):
    how = {"batch_size": batch_size, "epochs": float(epochs)}
    plain, shuffled = (order_of(documents, range(10), shuffle_sequences=on, **how) for on in (False, True))
    rows = [[row.tolist() for step in range(order.num_steps) for row in order.batch(step).batch["input_ids"]]
            for order in (plain, shuffled)]  # fmt: skip
    assert [len(order) for order in rows] == [plain.num_sequences] * 2 and rows[0] != rows[1]
    assert rows[0][-1] == rows[1][-1] or plain.num_units % LENGTH == 0
    edges = [-(-epoch * plain.budget // LENGTH) for epoch in range(3)] + [plain.num_sequences]
    for first, end in pairwise(edges):
        assert sorted(rows[0][first:end]) == sorted(rows[1][first:end])
    for step in (shuffled.num_steps - 1, 0):  # whatever came before
        again = order_of(documents, range(10), shuffle_sequences=True, **how).batch(step)
        assert torch.equal(again.batch["input_ids"], shuffled.batch(step).batch["input_ids"])
        np.testing.assert_array_equal(again.owners, shuffled.batch(step).owners)


def test_a_last_sequence_that_predicts_nothing_has_no_step_to_itself(documents, text):
    """Of packed text one token left over, of rows a prompt whose continuation is cut off."""
    length = documents.sequence_length
    for units, steps in ((2 * length, 2), (2 * length + 1, 2), (2 * length + 2, 3), (2, 1)):
        order = order_of(documents, range(10), batch_size=1, epochs=1.0, budget=units)
        assert order.num_steps == steps and order.num_units == units
        assert all((order.batch(step).batch["labels"] != -100).any() for step in range(steps))
    for what in (documents, text):
        with pytest.raises(InputError, match="a training on 1 token"):
            order_of(what, range(10), batch_size=1, num_tokens=1)


def test_a_record_without_shuffled_sequences_is_that_of_before():
    before = TrainConfig(shuffle_sequences=False)
    assert "shuffle_sequences" not in before.record and TrainConfig.of_record(before.record) == before
    assert TrainConfig.of_record(TrainConfig().record) == TrainConfig() == TrainConfig.for_language()


def test_text_is_shuffled_unless_told_otherwise(documents):
    settings = [ModelSettings(size="60k", shuffle_sequences=value) for value in (None, True, False)]
    spec = spec_of(settings[0], documents)
    configs = [train_config_of(one, spec, documents) for one in settings]
    assert [one.shuffle_sequences for one in configs] == [True, True, False]
    assert [one.learning_rate for one in configs] == [3.5e-3, 3.5e-3, 2e-3]  # the last as it was before


@pytest.mark.parametrize("value", [True, False])
def test_images_are_shuffled_anyway(digits, value):
    settings = ModelSettings(size="mlp-8x1", shuffle_sequences=value)
    with pytest.raises(InputError, match="shuffle_sequences is of documents, and the pool holds images"):
        train_config_of(settings, spec_of(settings, digits), digits)
    plain, told = (Order(digits, np.arange(20), None, TrainConfig(batch_size=5, shuffle_sequences=on), seed=0)
                   for on in (False, value))  # fmt: skip
    assert [plain.batch(step).owners.tolist() for step in range(4)] == [
        told.batch(step).owners.tolist() for step in range(4)
    ]


@pytest.mark.parametrize(("sizes", "least"), [((1, 3), 0.98), ((5, 10), 0.8), ((5, 40), 0.8), ((40, 120), 0.9)])
def test_shuffled_sequences_of_two_subsets_come_in_the_same_relative_order(tmp_path, sizes, least):
    """The mean moment at which each document is seen: of texts shorter than a sequence of 8 and longer."""
    pool = write_documents(tmp_path / "pool", np.random.default_rng(5).integers(*sizes, 400).tolist())
    halves = [np.sort(np.random.default_rng(seed).permutation(400)[:200]) for seed in (0, 1)]
    budget = min(int(np.asarray(pool.lengths())[half].sum()) for half in halves)
    moments = []
    for half in halves:
        order = Order(pool, half, None, TrainConfig.for_language(batch_size=4), seed=0, budget=budget)
        owners = [order.batch(step).owners.ravel() for step in range(order.num_steps)]
        steps = np.repeat(np.arange(order.num_steps), [len(one) for one in owners])
        owners = np.concatenate(owners)
        steps, owners = steps[owners >= 0], owners[owners >= 0]
        with np.errstate(invalid="ignore"):  # what is not seen
            moments.append(np.bincount(owners, steps, 400) / np.bincount(owners, minlength=400))
    both = np.isfinite(moments[0]) & np.isfinite(moments[1])
    assert both.sum() > 20 and np.corrcoef(moments[0][both], moments[1][both])[0, 1] > least


@pytest.mark.parametrize("sizes", [[31] * 120, np.random.default_rng(1).integers(20, 50, 120).tolist()])
def test_a_batch_repeats_a_document_no_more_than_in_a_random_permutation_whatever_the_seed(tmp_path, sizes):
    pool = write_documents(tmp_path / "pool", sizes)
    stream = Order(pool, np.arange(120), None, TrainConfig(batch_size=1, shuffle_sequences=False), seed=0)
    begins = np.array([stream.batch(step).owners[0, 0] for step in range(stream.num_steps)])
    ours, random = [], []
    for seed in range(20):
        order = Order(pool, np.arange(120), None, TrainConfig(batch_size=16), seed=seed)
        batches = [order.batch(step).owners[:, 0] for step in range(order.num_steps)]
        ours.append(np.mean([len(one) - len(set(one)) for one in batches]))
        permuted = np.array_split(np.random.default_rng(seed).permutation(begins), order.num_steps)
        random.append(np.mean([len(one) - len(set(one)) for one in permuted]))
    assert np.mean(ours) < 1.2 * np.mean(random) and np.std(ours) < 2 * np.std(random)


def test_what_is_not_packed_is_asked_for_as_before(documents, tmp_path):
    digits, text = write_digits(tmp_path / "digits"), write_text(tmp_path / "text", 20)
    for name, examples, config, wanted in (
        ("mlp-8x1", digits, TrainConfig.for_vision(steps=1, shuffle_sequences=True), None),
        ("60k", text, TrainConfig.for_language(steps=1), None),
        ("60K", documents, TrainConfig.for_language(steps=1), True),
    ):
        made = train(model_spec(name, examples), examples, out=tmp_path / name, config=config, seed=0, device="cpu")
        assert made.meta["config"]["training"].get("shuffle_sequences") is wanted


def test_in_which_order_a_mixture_is_written_changes_nothing(documents):
    shares = {"a": 0.7, "b": 0.3}
    one, other = (
        stream(order_of(documents, range(10), budget=61, mixture=dict(own)))[0]
        for own in (shares.items(), reversed(shares.items()))
    )
    assert one.tolist() == other.tolist()
    given = {np.str_("b"): 0.5, np.str_("a"): 0.5}
    checked = check_mixture(given, documents, np.arange(10))
    assert list(checked) == ["a", "b"] and all(type(name) is str for name in checked)
