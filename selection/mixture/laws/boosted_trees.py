"""RegMix (arXiv 2407.01492): regress losses on mixtures with boosted trees, then search simulated mixtures."""

import numpy as np
from jaxtyping import Float
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from thresher.seeds import derive, numpy_rng
from thresher.selection.mixture.laws.law import Law, Losses, Weights

FOLDS = 4


class BoostedTrees(Law):
    """One ensemble of trees a target, with a fixed number of trees, so that no run is spent on when to stop."""

    smooth = False

    def __init__(self, weights: Weights, losses: Losses, seed: int):
        self.seed, self.num_runs = seed, len(weights)
        with one_thread():
            self._models = [self._trees().fit(weights, column) for column in losses.T]
            self._spread = self._held_out_spread(weights, losses)

    @property
    def num_parameters(self) -> int:
        """One a domain, as a rule of thumb: trees have no count that compares with that of a law."""
        return self._models[0].n_features_in_

    def predict(self, weights: Weights) -> Losses:
        """The prediction of each target's trees."""
        with one_thread():
            return np.column_stack([model.predict(weights) for model in self._models])

    def deviation(self, weights: Weights) -> Losses:
        """The root mean square error on held-out runs, the same for every mixture."""
        return np.broadcast_to(self._spread, (len(weights), len(self._spread)))

    def refit(self, weights: Weights, losses: Losses) -> "BoostedTrees":
        """Trees grown anew on other runs."""
        return BoostedTrees(weights, losses, self.seed)

    def _trees(self) -> HistGradientBoostingRegressor:
        return HistGradientBoostingRegressor(
            max_iter=200,
            learning_rate=0.06,
            max_leaf_nodes=8,
            min_samples_leaf=min(8, max(self.num_runs // 8, 1)),
            early_stopping=False,  # pyright: ignore[reportArgumentType]
            random_state=derive(self.seed, "regmix") % 2**32,
        )

    def _held_out_spread(self, weights: Weights, losses: Losses) -> Float[np.ndarray, "k"]:
        """Root mean square error of the runs that a model of the others predicts, on one fold in `FOLDS`.

        The fold is of mixtures, not of runs, and the same in whatever order they stand.
        """
        _, group = np.unique(weights, axis=0, return_inverse=True)
        num_groups = int(group.max()) + 1
        order = numpy_rng(self.seed, "regmix-spread").permutation(num_groups)
        held = np.isin(group.reshape(-1), order[: max(1, num_groups // FOLDS)])
        if held.all():  # one mixture alone
            held = np.arange(self.num_runs) % FOLDS == 0
        models = [self._trees().fit(weights[~held], column[~held]) for column in losses.T]
        wrong = np.column_stack([model.predict(weights[held]) for model in models]) - losses[held]
        return np.sqrt(np.mean(wrong**2, axis=0))


def one_thread() -> threadpool_limits:
    """A context in which trees are grown and read by one thread.

    Tables of runs are small: threads gain nothing, and on a busy machine they wait for each other at every split.
    """
    return threadpool_limits(1, user_api="openmp")


def fit_regmix(weights: Weights, losses: Losses, seed: int = 0) -> BoostedTrees:
    """Fit one ensemble of trees to each target."""
    return BoostedTrees(weights, losses, seed)
