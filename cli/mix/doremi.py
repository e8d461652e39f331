"""`thresher mix doremi`: reweight domains while a proxy trains, by how far each lags a reference."""

from dataclasses import asdict, dataclass
from pathlib import Path

from thresher.cli.command import Command
from thresher.cli.mix.options import command_line, show_proposal, write_result


@dataclass(frozen=True, kw_only=True)
class DoReMi(Command):
    """DoReMi on a prepared pool: a reference trained on uniform domains, then a proxy whose domains are reweighted.

    The mixture is the weights' mean over steps and over --seeds; how far the seeds agree is in the report, because
    DoReMi is known to end nearly one-hot and to depend on proxy and tokenizer.
    """

    pool: Path
    """A prepared pool with domains."""
    out: Path
    """A folder for the runs, mixture.json and report.html."""
    model: str = "0.1M"
    """Reference and proxy: parameters, or a model's name."""
    tokens: int | None = None
    """Tokens that each trains on; none: what --examples hold."""
    examples: int = 4000
    """Images that each trains on; of text, what so many average documents hold."""
    eta: float = 1.0
    """Step size of the weights."""
    smoothing: float = 1e-3
    """Share of uniform weights mixed in at every step."""
    seeds: int = 3
    """Proxies (with a reference each), for the interval."""
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int = 0
    device: str = "auto"

    def run(self, progress):
        import numpy as np

        from thresher.data.examples import open_examples
        from thresher.errors import InputError
        from thresher.proxies.models.spec import model_spec
        from thresher.proxies.settings import ModelSettings, train_config_of
        from thresher.proxies.trials import Trial, train_trial
        from thresher.seeds import derive
        from thresher.selection.mixture.baselines import natural
        from thresher.selection.mixture.doremi import summarise
        from thresher.studies.experiments.training_sets import supply
        from thresher.studies.mixtures.doremi import train_doremi
        from thresher.studies.mixtures.runs import run_budget
        from thresher.workspace import Workspace

        if self.seeds < 1:
            raise InputError(f"--seeds {self.seeds}; pass 1 or more")
        workspace = Workspace(self.out, self.device, progress)
        pool = open_examples(self.pool)
        tokens, budget = supply(pool), run_budget(pool, self.tokens, self.examples)
        table = ModelSettings(size=self.model, epochs=1.0, batch_size=self.batch_size, learning_rate=self.learning_rate)
        spec = model_spec(self.model, pool)
        train_config = train_config_of(table, spec)
        uniform = dict.fromkeys(tokens, 1 / len(tokens))
        paths, flops = [], 0
        with progress.task("DoReMi", 2 * self.seeds) as advance:
            for repeat in range(self.seeds):
                run_seed = derive(self.seed, "doremi", repeat) % 2**31
                run = Trial("uniform", repeat, run_seed, np.arange(len(pool)), budget, uniform)
                reference = train_trial(pool, table, run, workspace)
                advance(1)
                proxy = train_doremi(
                    spec,
                    pool,
                    reference,
                    out=workspace.place(
                        f"doremi-{repeat}", reference.content_hash, self.eta, self.smoothing, asdict(train_config)
                    ),
                    config=train_config,
                    budget=budget,
                    eta=self.eta,
                    smoothing=self.smoothing,
                    seed=derive(run_seed, "proxy") % 2**31,
                    device=self.device,
                    progress=progress,
                )
                advance(1)
                paths.append(np.load(proxy.file("path.npy")))
                flops += reference.facts["flops"] + proxy.facts["flops"]
        result = summarise(list(tokens), paths, natural=natural(list(tokens), tokens))
        result |= {"seed": self.seed, "flops": flops, "num_trained": 2 * self.seeds}
        return write_result(result, self.out, command=command_line("doremi", self))

    def show(self, result):
        return show_proposal(result)
