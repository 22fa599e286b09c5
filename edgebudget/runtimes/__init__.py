"""Runtimes as models of memory, one file each."""

from edgebudget.registry import Registry
from edgebudget.runtimes.interface import Runtime

RUNTIMES: Registry[Runtime] = Registry("edgebudget.runtimes", "RUNTIME", "runtime")

__all__ = ["RUNTIMES", "Runtime"]
