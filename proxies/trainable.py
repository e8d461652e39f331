"""What is refused before anything is trained: settings that cannot be, tasks a model cannot read, a model twice."""

from collections.abc import Iterable, Mapping

from thresher.canonical import hash_json
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies.models.fits import check_all
from thresher.proxies.models.spec import size_of
from thresher.proxies.settings import ModelSettings
from thresher.proxies.training.chosen import spec_of, train_config_of
from thresher.proxies.training.last_steps import LastSteps
from thresher.proxies.training.order import num_steps


def check_trainable(
    pool: Examples,
    settings: ModelSettings,
    tasks: Mapping[str, Examples],
    *,
    average: int = 1,
    budget: int | None = None,
) -> None:
    """Refuse, before anything is trained, settings that cannot be, and tasks that the model cannot read.

    With a `budget` also trainings of so many tokens (images) an epoch that have fewer than `average` steps.
    """
    spec = spec_of(settings, pool)
    config = train_config_of(settings, spec, pool)
    check_all(spec, (pool, *tasks.values()))
    last = LastSteps.of(tasks, average)
    if last is not None and budget is not None:
        last.check(num_steps(pool, config, budget))


def check_distinct(pool: Examples, sides: Iterable[ModelSettings]) -> None:
    """Refuse two names of sizes that are one model trained alike: it would agree with itself, whatever was asked."""
    names: dict[str, str] = {}
    for settings in sides:
        spec = spec_of(settings, pool)
        config = train_config_of(settings, spec, pool)
        first = names.setdefault(hash_json([spec | {"name": ""}, config.record]), settings.size)
        if first != settings.size:
            raise InputError(
                f"{first!r} and {settings.size!r} are one model here, of {size_of(spec)['total']:,} parameters, and "
                "would agree whatever is asked; leave one out, or give a size that is further away"
            )
