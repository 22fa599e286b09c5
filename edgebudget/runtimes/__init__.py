"""Runtimes as models of memory, one file each."""

from typing import TYPE_CHECKING

from edgebudget.registry import Registry

if TYPE_CHECKING:
    from edgebudget.runtimes.interface import Runtime  # names of runtimes are asked for where nothing is laid out

RUNTIMES: "Registry[Runtime]" = Registry("edgebudget.runtimes", "RUNTIME", "runtime")
