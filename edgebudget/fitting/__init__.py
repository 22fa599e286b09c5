"""What would make a model fit a device, one file a kind of change."""

from edgebudget.fitting.interface import Proposer
from edgebudget.registry import Registry

PROPOSERS: Registry[Proposer] = Registry("edgebudget.fitting", "PROPOSER", "kind of change")

__all__ = ["PROPOSERS", "Proposer"]
