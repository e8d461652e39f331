"""The libraries that an artefact was made with."""

from importlib.metadata import PackageNotFoundError, version

LIBRARIES = ("thresher", "torch", "numpy", "transformers", "datasets")


def library_version(name: str) -> str | None:
    """The installed version of a package; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
