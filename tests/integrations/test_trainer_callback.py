"""The Trainer of `transformers` with the callback: features and scores of its checkpoints, and the same training."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

import thresher
from thresher.errors import InputError
from thresher.integrations import AttributionCallback


@pytest.fixture(scope="module")
def pool(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("callback") / "pool"
    return thresher.prepare(corpus, out=out, id="id", domain="source", vocab_size=300, sequence_length=32, limit=12)


class Rows(torch.utils.data.Dataset):
    """Windows of a pool as the Trainer takes them."""

    def __init__(self, pool):
        self.examples = pool.load()

    def __len__(self):
        return 8

    def __getitem__(self, index):
        batch = self.examples.batch([index])
        return {name: torch.nn.functional.pad(batch[name][0], (0, 32 - batch[name].shape[1]), value=value)
                for name, value in (("input_ids", 0), ("labels", -100))}  # fmt: skip


def trainer_of(pool, folder, vocab_size=300, callback=None):
    """A Trainer of four steps that saves every two, with dropout."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=vocab_size, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                         num_attention_heads=2, attention_dropout=0.3)  # fmt: skip
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"), max_steps=4, save_steps=2, per_device_train_batch_size=2, report_to=[],
        use_cpu=True, disable_tqdm=True, learning_rate=1e-2, logging_strategy="no",
    )  # fmt: skip
    callbacks = [callback] if callback else None
    return Trainer(LlamaForCausalLM(config), arguments, train_dataset=Rows(pool), callbacks=callbacks)


def trained(pool, folder, vocab_size=300, **given):
    """The model after its training, and its callback."""
    callback = AttributionCallback(pool, out=folder / "attribution", device="cpu", **given) if given else None
    trainer = trainer_of(pool, folder, vocab_size, callback)
    trainer.train()
    return trainer.model, callback


def test_features_are_those_of_the_saved_checkpoints_and_the_training_is_untouched(pool, tmp_path):
    plain, _ = trained(pool, tmp_path / "plain")
    model, callback = trained(pool, tmp_path / "with", k=16)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    assert list(callback.made) == [2, 4]
    for step, store in callback.made.items():
        saved = LlamaForCausalLM.from_pretrained(tmp_path / "with" / "trainer" / f"checkpoint-{step}")
        again = thresher.featurize(saved, pool, out=tmp_path / f"again-{step}", k=16, device="cpu")
        assert store.path == tmp_path / "with" / "attribution" / f"checkpoint-{step}" / "features"
        assert (store.features() == again.features()).all()
    assert (callback.made[2].features() != callback.made[4].features()).any()


def test_with_targets_scores_are_kept_for_each_checkpoint(pool, tmp_path):
    _, callback = trained(pool, tmp_path, targets={"own": pool}, k=16)
    assert [scores.targets for scores in callback.made.values()] == [["own"], ["own"]]
    assert len(thresher.open(tmp_path / "attribution" / "checkpoint-4" / "scores")) == len(pool)


def test_a_model_of_fewer_tokens_is_refused_before_the_first_step(pool, tmp_path):
    with pytest.raises(InputError, match="has vocab_size 300, but the model that is trained has 100"):
        trained(pool, tmp_path, vocab_size=100, k=16)
