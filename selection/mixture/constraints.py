"""What a mixture must respect: supply, repetition, floors, ceilings, and closeness to a prior."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError

# Two bounds closer than this are the same bound.
SLACK = 1e-9


@dataclass(frozen=True)
class Constraints:
    """A box on the simplex and a prior to stay near, as `make_constraints` makes them, which refuses empty boxes."""

    domains: tuple[str, ...]
    lower: Float[np.ndarray, "m"]
    upper: Float[np.ndarray, "m"]
    prior: Float[np.ndarray, "m"]
    kl_weight: float = 0.0
    """This times KL(x || prior) is added to the objective, in units of the loss."""
    max_kl: float | None = None
    """A hard limit on KL(x || prior), in nats."""

    def project(self, points: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n m"]:
        """The nearest mixtures in the box (Euclidean); those beyond `max_kl` are drawn towards `closest_to_prior`."""
        low = np.min(points - self.upper, axis=1)
        high = np.max(points - self.lower, axis=1)
        shift = _bisect(lambda s: np.clip(points - s[:, None], self.lower, self.upper).sum(axis=1) < 1, low, high)
        inside = np.clip(points - shift[:, None], self.lower, self.upper)
        if self.max_kl is None:
            return inside
        # KL is convex along the line to the anchor, whose KL is least: one crossing.
        anchor, zero, one = self.closest_to_prior(), np.zeros(len(inside)), np.ones(len(inside))
        near = self.kl(inside) <= self.max_kl
        share = _bisect(lambda s: self.kl(inside + s[:, None] * (anchor - inside)) <= self.max_kl, zero, one)
        return np.where(near[:, None], inside, inside + share[:, None] * (anchor - inside))

    def closest_to_prior(self) -> Float[np.ndarray, "m"]:
        """The mixture in the box of least KL to the prior: clip(s * prior, lower, upper), with s for a sum of 1."""
        prior = np.maximum(self.prior, 1e-12)
        low, high = np.array([0.0]), np.array([np.max(1 / prior)])
        scale = _bisect(lambda s: np.clip(s[:, None] * prior, self.lower, self.upper).sum(axis=1) >= 1, low, high)[0]
        return np.clip(scale * prior, self.lower, self.upper)

    def kl(self, weights: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n"]:
        """The divergence KL(x || prior) of each mixture, in nats."""
        tiny = 1e-12
        return np.sum(weights * np.log((weights + tiny) / (self.prior + tiny)), axis=1)

    def kl_gradient(self, weights: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n m"]:
        """The derivative of `kl` in each weight."""
        tiny = 1e-12
        return np.log((weights + tiny) / (self.prior + tiny)) + weights / (weights + tiny)

    def on_bound(self, weights: Float[np.ndarray, "m"], tolerance: float = 1e-4) -> dict[str, str]:
        """The bound of each domain that lies on its floor or ceiling; a floor of 0 counts too."""
        bounds = {}
        for domain, value, low, high in zip(self.domains, weights, self.lower, self.upper, strict=True):
            if high - low > SLACK and value <= low + tolerance:
                bounds[domain] = f"floor {low:.4g}"
            elif high - low > SLACK and value >= high - tolerance:
                bounds[domain] = f"ceiling {high:.4g}"
        return bounds


def make_constraints(
    domains: Sequence[str],
    *,
    tokens: Mapping[str, float] | None = None,
    budget: float | None = None,
    max_repeats: float | Mapping[str, float] = 1.0,
    floors: Mapping[str, float] | None = None,
    ceilings: Mapping[str, float] | None = None,
    prior: Mapping[str, float] | None = None,
    kl_weight: float = 0.0,
    max_kl: float | None = None,
) -> Constraints:
    """The constraints over `domains` that follow from what is known of them.

    With `tokens` (supply of each domain) and `budget` (tokens to train on), x_d <= tokens_d * max_repeats_d / budget.
    `prior` defaults to the natural mixture where `tokens` are given, else to the uniform one; it is normalised.
    Raises InputError for an unknown domain, a bound outside [0, 1], and constraints that no mixture meets.
    """
    num_domains = len(domains)
    lower = _vector(domains, floors, 0.0, "floors")
    upper = _vector(domains, ceilings, 1.0, "ceilings")
    for name, bound in (("floor", lower), ("ceiling", upper)):
        if np.any((bound < 0) | (bound > 1)):
            raise InputError(f"{name} {bound[(bound < 0) | (bound > 1)][0]:g} is not a share; give numbers from 0 to 1")
    if budget is not None:
        upper = np.minimum(upper, _caps(domains, tokens, budget, max_repeats))
    if not 0 <= kl_weight < np.inf or not (max_kl is None or max_kl >= 0):
        raise InputError(
            f"KL weight {kl_weight:g} and limit {max_kl}: below 0 or infinite they have no meaning; give 0 or more"
        )
    shares = prior or tokens
    base = np.full(num_domains, 1.0) if not shares else _vector(domains, shares, 0.0, "prior")
    if np.any(base < 0) or base.sum() <= 0:
        raise InputError("the prior must have no negative share and some positive one; check its numbers")
    constraints = Constraints(tuple(domains), lower, upper, base / base.sum(), kl_weight, max_kl)
    _refuse_empty(constraints)
    return constraints


def _caps(domains, tokens, budget, max_repeats) -> Float[np.ndarray, "m"]:
    if tokens is None:
        raise InputError("a budget without the domains' token counts bounds nothing; give tokens for every domain")
    if not 0 < budget < np.inf:
        raise InputError(f"budget {budget:g} is not a number of tokens; give one above 0")
    if missing := [domain for domain in domains if domain not in tokens]:
        raise InputError(f"no token count for domain {missing[0]!r}; give tokens for every domain")
    repeats = _vector(domains, max_repeats, 1.0, "max_repeats") if isinstance(max_repeats, Mapping) else max_repeats
    supply = _vector(domains, tokens, 0.0, "tokens")
    if not (np.all(supply >= 0) and np.all(np.asarray(repeats) > 0)):
        raise InputError("token counts must be 0 or more and repeats above 0; check the numbers given")
    return supply * repeats / budget


def _refuse_empty(constraints: Constraints) -> None:
    lower, upper = constraints.lower, constraints.upper
    crossed = np.flatnonzero(lower > upper + SLACK)
    if len(crossed):
        d = crossed[0]
        raise InputError(
            f"domain {constraints.domains[d]!r} must be at least {lower[d]:.4g} and at most {upper[d]:.4g}: "
            "lower the floor, raise the ceiling, or allow more repeats"
        )
    if lower.sum() > 1 + SLACK:
        raise InputError(f"the floors sum to {lower.sum():.4g}, more than 1; lower some")
    if upper.sum() < 1 - SLACK:
        raise InputError(
            f"the ceilings sum to {upper.sum():.4g}, less than 1; raise some, allow more repeats or lower the budget"
        )
    if constraints.max_kl is not None:
        least = constraints.kl(constraints.closest_to_prior()[None])[0]
        if least > constraints.max_kl + SLACK:
            raise InputError(
                f"no mixture in the bounds is within KL {constraints.max_kl:g} of the prior (least {least:.4g}); "
                "raise max_kl"
            )


def _vector(
    domains: Sequence[str], given: Mapping[str, float] | None, default: float, what: str
) -> Float[np.ndarray, "m"]:
    given = given or {}
    if unknown := [name for name in given if name not in domains]:
        raise InputError(f"{what} name {unknown[0]!r}, which is no domain; use one of {', '.join(domains)}")
    values = np.array([given.get(domain, default) for domain in domains], dtype=float)
    if not np.all(np.isfinite(values)):
        raise InputError(f"{what} hold a value that is not a finite number; check them")
    return values


def _bisect(reached, low, high, steps: int = 100):
    """The least points at which `reached` holds, for each row on its own; it must hold at `high` and stay so."""
    for _ in range(steps):
        middle = (low + high) / 2
        done = reached(middle)
        low, high = np.where(done, low, middle), np.where(done, middle, high)
    return high
