"""`thresher study learning-rate`: at which learning rate can a proxy's ranking of recipes be trusted?"""

from dataclasses import dataclass

from thresher.cli.command import made
from thresher.cli.lines import rate_lines
from thresher.cli.study.options import StudyOptions
from thresher.errors import InputError
from thresher.proxies.models.names import parse as parse_model


@dataclass(frozen=True, kw_only=True)
class LearningRate(StudyOptions):
    """Rank recipes with a proxy at several learning rates, against the reference with each recipe's own best rate.

    Says which rate to train proxies at: the largest below which the ranking does not change. Every run is an artefact
    under --out; run the same command again to resume, or with more rates to go on.
    """

    usage = """
    thresher study learning-rate --pool pool --test-sets squad=target --recipes all=all web=domain:web \
      books=domain:books --proxy 0.4M --reference 1.6M --multiples .1 .3 1 --out rates
    """

    proxy: str
    """The proxy's size."""
    reference: str
    """The reference's size."""
    multiples: tuple[float, ...] = ()
    """Learning rates of the proxy, as multiples of its own (the ladder's); none: 0.03 0.1 0.3 1 3."""
    reference_multiples: tuple[float, ...] = ()
    """The same of the reference, of which every recipe gets its best; none: 0.5 1 2."""
    rates: tuple[float, ...] = ()
    """Instead of --multiples: learning rates as they are."""
    reference_rates: tuple[float, ...] = ()
    """Instead of --reference-multiples: learning rates as they are."""
    standard: float | None = None
    """The proxy's own rate, which multiples are of and the others are compared with; none: the ladder's rule."""
    average: int = 1
    """Models are measured at so many of their last steps, and the mean is judged, on both sides."""

    def check(self):
        super().check()
        parse_model(self.reference, trained=False)
        for side in ("", "reference-"):
            names = [f"{side}rates", f"{side}multiples"]
            if all(getattr(self, name.replace("-", "_")) for name in names):
                raise InputError(f"--{names[0]} and --{names[1]} both say which rates; leave one out")

    def run(self, progress):
        from thresher.proxies.training.chosen import usual_rate
        from thresher.studies.experiments.learning_rate import learning_rate
        from thresher.studies.experiments.rates import MULTIPLES, REFERENCE_MULTIPLES, TriedRates

        drawn = self.drawn(progress)
        proxy, reference = (self.model_settings(size) for size in (self.proxy, self.reference))
        own = usual_rate(proxy, drawn.pool) if self.standard is None else self.standard
        artifact = learning_rate(
            drawn.pool,
            drawn.training_sets,
            self.opened_test_sets(),
            proxy=proxy,
            rates=TriedRates.of(own, self.multiples or MULTIPLES, self.rates),
            reference=reference,
            reference_rates=TriedRates.of(
                usual_rate(reference, drawn.pool), self.reference_multiples or REFERENCE_MULTIPLES, self.reference_rates
            ),
            budget=drawn.budget,
            seed=self.seed,
            workers=self.workers,
            workspace=drawn.sources.workspace,
            num_resamples=self.resamples,
            average=self.average,
        )
        return made(artifact)

    def show(self, result):
        return "\n".join([f"path: {result['path']}", *rate_lines(result)])
