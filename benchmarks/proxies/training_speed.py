"""How fast is the training loop, against a plain PyTorch loop and `transformers.Trainer`, of one model and optimiser?

    python -m benchmarks.proxies.training_speed DOCUMENTS OUT [--sizes 0.05M 0.4M 1.6M] [--threads 1] [--json FILE]

DOCUMENTS has a column `text`. Each loop trains in a thread of its own, from the same initial weights on the same
batches, and is let go for a block of steps at a time: ours, the plain one, Trainer, ours, .. Speeds change under load,
so the ratio of two loops is the median over rounds of the ratio of blocks that followed each other; on one thread it is
of the thread's own processor time, which other work on the machine takes nothing of. `losses` are of each loop's last
step: all take the same steps. `bf16` is ours in bf16 where the chip has it, the others are float32, and `default` says
which of them is taken unasked. `--profile` says where our time goes.
"""

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.command import thresher
from benchmarks.loop import machine
from thresher.data import TokenExamples, open_examples
from thresher.devices import has_bf16
from thresher.proxies import Order, TrainConfig, Trainer, build_model, model_spec

LENGTH, BATCH, SEED = 128, 16, 0
BLOCK_SECONDS, ROUNDS = 0.5, 12
VOCABULARIES = {"0.05M": 1024, "0.6M": 1024}
"""The demo's own; every other size has 4,096 words."""


class Turns:
    """A loop in a thread, which goes on for as many steps as it is given and then waits."""

    def __init__(self, loop: Callable[["Turns"], None], threads: int) -> None:
        self._go, self._done, self._left = threading.Semaphore(0), threading.Semaphore(0), 0
        self._over, self.loss, self._begun, self.processor = False, 0.0, 0.0, 0.0

        def run() -> None:
            torch.set_num_threads(threads)
            self._wait()
            try:
                loop(self)
            except Over:
                pass
            finally:
                self._done.release()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def __call__(self, steps: int) -> float:
        """Seconds that so many steps take."""
        self._left = steps
        begun = time.perf_counter()
        self._go.release()
        self._done.acquire()
        return time.perf_counter() - begun

    def step_done(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.processor = time.thread_time() - self._begun
            self._done.release()
            self._wait()

    def close(self) -> None:
        self._over = True
        self._go.release()
        self._thread.join()

    def _wait(self) -> None:
        self._go.acquire()
        self._begun = time.thread_time()
        if self._over:
            raise Over


class Over(BaseException):
    """The benchmark needs no more steps."""


def ours(trainer: Trainer) -> Callable[[Turns], None]:
    def loop(turns: Turns) -> None:
        class Stepping:
            @contextmanager
            def task(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
                yield lambda done: turns.step_done() if done else None

        try:
            trainer.run(Path("/nonexistent"), 1e9, Stepping())
        finally:
            turns.loss = float(trainer.state.losses[trainer.state.step - 1])

    return loop


def batches_of(order: Order, count: int) -> list[torch.Tensor]:
    return [order.batch(step).batch["input_ids"] for step in range(count)]


def plain(model: Any, batches: list[torch.Tensor], config: TrainConfig, rate: float, steps: int) -> Callable:
    """The floor: the loop that anybody writes."""

    def loop(turns: Turns) -> None:
        matrices = [p for p in model.parameters() if p.ndim >= 2]
        groups = [{"params": matrices}, {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(
            groups, lr=rate, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay, fused=True
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: config.rate(step, steps))
        try:
            for step in range(steps):
                tokens = batches[step % len(batches)]
                optimizer.zero_grad(set_to_none=True)
                logits = model(input_ids=tokens).logits
                loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
                optimizer.step()
                schedule.step()
                turns.step_done()
        finally:
            turns.loss = float(loss.detach())

    return loop


def huggingface(model: Any, batches: list[torch.Tensor], config: TrainConfig, rate: float, steps: int, out: Path):
    from transformers import Trainer as HuggingFace
    from transformers import TrainerCallback, TrainingArguments

    rows = [{"input_ids": row, "labels": row} for tokens in batches for row in tokens]

    def loop(turns: Turns) -> None:
        class Stepping(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                turns.step_done()

        arguments = TrainingArguments(
            output_dir=str(out),
            per_device_train_batch_size=BATCH,
            learning_rate=rate,
            weight_decay=config.weight_decay,
            adam_beta1=config.betas[0],
            adam_beta2=config.betas[1],
            adam_epsilon=config.eps,
            max_grad_norm=config.clip or 0.0,
            lr_scheduler_type="cosine",
            warmup_steps=round(config.warmup * steps),
            max_steps=steps,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            logging_steps=10**9,
            train_sampling_strategy="sequential",
        )
        HuggingFace(model=model, args=arguments, train_dataset=rows, callbacks=[Stepping()]).train()

    return loop


def compare(pool: TokenExamples, size: str, threads: int, rounds: int, out: Path, parametrization: str) -> dict:
    spec = model_spec(size, pool, parametrization=parametrization)
    steps = 10**6
    config = TrainConfig.for_language(steps=steps, batch_size=BATCH, precision="float32")
    order = Order(pool, np.arange(len(pool)), None, config, seed=SEED)
    cpu, how = torch.device("cpu"), {"seed": SEED, "weights": None, "device": "cpu"}
    trainer = Trainer(spec, pool, order, config, **how)
    batches = batches_of(order, 64)
    given = (batches, config, trainer.peak, steps)
    loops = {
        "ours": Turns(ours(trainer), threads),
        "plain": Turns(plain(build_model(spec, SEED), *given), threads),
        "trainer": Turns(huggingface(build_model(spec, SEED), *given, out), threads),
    }
    if has_bf16(cpu):
        loops["bf16"] = Turns(ours(Trainer(spec, pool, order, replace(config, precision="bf16"), **how)), threads)
    for turns in loops.values():
        turns(3)
    each = statistics.median(loops["plain"](1) for _ in range(5))
    block = max(2, round(BLOCK_SECONDS / each))
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds):
        names = list(loops) if number % 2 == 0 else list(loops)[::-1]
        for name in names:
            wall = loops[name](block)
            seconds[name].append((loops[name].processor if threads == 1 else wall) / block)
    for turns in loops.values():
        turns.close()
    ratio = {name: [own / base for own, base in zip(seconds["ours"], seconds[name], strict=True)] for name in loops}
    quarters = {name: statistics.quantiles(values, n=4) for name, values in ratio.items()}
    return {
        "size": size,
        "vocab_size": pool.vocab_size,
        "threads": threads,
        "rounds": rounds,
        "steps_in_a_block": block,
        "milliseconds": {name: round(1e3 * statistics.median(values), 3) for name, values in seconds.items()},
        "tokens_per_second": {name: round(BATCH * LENGTH / statistics.median(v)) for name, v in seconds.items()},
        "of_the_floor": [round(value, 3) for value in quarters["plain"]],
        "times_trainers_speed": [round(1 / value, 3) for value in quarters["trainer"][::-1]],
        "default": replace(config, precision="auto").precision_on(spec, cpu),
        "losses": {name: round(turns.loss, 4) for name, turns in loops.items() if turns.loss},
    }


def profile(pool: TokenExamples, size: str) -> None:
    """Where a step's time goes, by operation."""
    config = TrainConfig.for_language(steps=1000, batch_size=BATCH, precision="float32")
    order = Order(pool, np.arange(len(pool)), None, config, seed=SEED)
    trainer = Trainer(model_spec(size, pool), pool, order, config, seed=SEED, weights=None, device="cpu")
    for _ in range(5):
        trainer.take_step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as done:
        for _ in range(20):
            trainer.take_step()
    print(done.key_averages().table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=45))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sizes", nargs="+", default=["0.05M", "0.6M", "0.4M", "1.6M"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--parametrization", default="standard", help="completep has more groups than the plain loop")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        for size in options.sizes:
            pool = _pool(options.documents, options.out, VOCABULARIES.get(size, 4096))
            if options.profile:
                profile(pool, size)
                continue
            rows.append(compare(pool, size, threads, options.rounds, options.out, options.parametrization))
            print(rows[-1], flush=True)
    if options.json:
        about = {"benchmark": "training-speed", "machine": machine(), "date": time.strftime("%Y-%m-%d")}
        options.json.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


def _pool(documents: Path, out: Path, vocab_size: int) -> TokenExamples:
    folder = out / f"pool-{vocab_size}"
    if not folder.is_dir():
        arguments = ["prepare", "--data", documents, "--part", 0, 0.04, "--vocab-size", vocab_size, "--out", folder]
        if thresher([str(word) for word in [*arguments, "--sequence-length", LENGTH, "--quiet"]]):
            raise SystemExit(1)
    examples = open_examples(folder)
    assert isinstance(examples, TokenExamples)
    return examples


if __name__ == "__main__":
    main()
