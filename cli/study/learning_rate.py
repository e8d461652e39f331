"""`thresher study learning-rate`: at which learning rate can a proxy's ranking of recipes be trusted?"""

from dataclasses import dataclass

from thresher.cli.command import made
from thresher.cli.study.options import StudyOptions
from thresher.proxies.models.names import parse as parse_model


@dataclass(frozen=True, kw_only=True)
class LearningRate(StudyOptions):
    """Rank recipes with a proxy at several learning rates, against the reference with each recipe's own best rate.

    Says which rate to train proxies at: the largest below which the ranking does not change. Every run is an artefact
    under --out; run the same command again to resume, or with more rates to go on.
    """

    usage = """
    thresher study learning-rate --pool pool --test-sets squad=target --recipes all=all web=domain:web \
      books=domain:books --proxy 0.4M --reference 1.6M --rates 1e-4 1e-3 1e-2 --reference-rates 1e-3 4e-3 --out rates
    """

    proxy: str
    """The proxy's size."""
    reference: str
    """The reference's size."""
    rates: tuple[float, ...]
    """Learning rates of the proxy."""
    reference_rates: tuple[float, ...]
    """Learning rates of the reference, of which every recipe gets its best."""
    standard: float | None = None
    """The proxy's usual rate, which the reduced one is compared with; none: the ladder's rule."""

    def check(self):
        super().check()
        parse_model(self.reference, trained=False)

    def run(self, progress):
        from thresher.proxies.settings import ModelSettings
        from thresher.proxies.training.chosen import usual_rate
        from thresher.studies.experiments.learning_rate import learning_rate

        drawn = self.drawn(progress)
        common = {"epochs": self.epochs, "batch_size": self.batch_size, "optimizer": self.optimizer}
        proxy = ModelSettings(size=self.proxy, **common)
        artifact = learning_rate(
            drawn.pool,
            drawn.training_sets,
            self.opened_test_sets(),
            proxy=proxy,
            rates=self.rates,
            reference=ModelSettings(size=self.reference, **common),
            reference_rates=self.reference_rates,
            standard=self.standard or usual_rate(proxy, drawn.pool),
            budget=drawn.budget,
            seed=self.seed,
            workers=self.workers,
            workspace=drawn.sources.workspace,
            num_resamples=self.resamples,
        )
        return made(artifact)

    def show(self, result):
        from thresher.studies.experiments.learning_rate import ALL

        lines = [
            f"path: {result['path']}",
            "rate        drop    tau below  spread/noise  Spearman of the mean loss with the tuned reference",
        ]
        for row in result["rates"]:
            rho = row["judged"][ALL]["spearman"]
            marks = [word for word, yes in (("plateau", row["on_plateau"]), ("untrained", not row["trained"])) if yes]
            marks += ["standard"] if row["learning_rate"] == result["standard"] else []
            tau = "-" if row["tau_below"] is None else f"{row['tau_below']:.2f}"
            noise = "-" if row["spread_over_noise"] is None else f"{row['spread_over_noise']:.1f}"
            lines.append(
                f"{row['learning_rate']:<11.3g} {row['drop']:<7.1%} {tau:<10} {noise:<13} "
                f"{rho['value']:.3f} [{rho['low']:.3f}, {rho['high']:.3f}]  {' '.join(marks)}"
            )
        lines.append(f"largest eigenvalue of the Hessian: {result['largest_eigenvalue']:.3g}")
        best = result["recommended"]
        lines.append(
            "no rate trained every recipe; pass larger ones" if best is None else f"train proxies at {best:.3g}"
        )
        return "\n".join(lines)
