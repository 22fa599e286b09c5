"""What a shell offers while a command is being typed: names alone, found without importing what they name."""

from collections.abc import Iterable


def models(incomplete: str) -> list[str]:
    """Return the model names that start with `incomplete`; a shell adds the files itself where there are none."""
    from edgebudget.sources import SOURCES

    return sorted(name for _, source in SOURCES for name in source.names(incomplete))


def devices(incomplete: str) -> list[str]:
    """Return the devices that start with `incomplete`, `all` and `here`."""
    from edgebudget.profiles import profile_names

    return [name for name in ["all", "here", *profile_names()] if name.startswith(incomplete)]


def dtypes(incomplete: str) -> list[str]:
    """Return the comma list `incomplete` with its last name completed."""
    from edgebudget.dtypes import DTYPES

    return _last_of_list(incomplete, DTYPES.names())


def runtimes(incomplete: str) -> list[str]:
    """Return the comma list `incomplete` with its last name completed."""
    from edgebudget.runtimes import RUNTIMES

    return _last_of_list(incomplete, RUNTIMES.names())


def formats(incomplete: str) -> list[str]:
    """Return the comma list `incomplete` with its last name completed."""
    from edgebudget.reporters import REPORTERS

    return _last_of_list(incomplete, REPORTERS.names())


def _last_of_list(incomplete: str, names: Iterable[str]) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    taken = before.split(",")
    return [f"{before}{comma}{name}" for name in names if name.startswith(last) and name not in taken]
