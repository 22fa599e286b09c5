"""Lifetimes to an arena: pure functions, and an independent verifier."""

from edgebudget.planning.best import best_plan
from edgebudget.planning.exact import plan_within
from edgebudget.planning.from_peak import from_peak
from edgebudget.planning.greedy import greedy_by_size
from edgebudget.planning.interface import ArenaPlan, Buffer, Planner
from edgebudget.planning.lifetimes import align, live_bytes, lower_bound
from edgebudget.planning.naive import naive
from edgebudget.planning.verify import PlanError, verify_plan

__all__ = [
    "ArenaPlan",
    "Buffer",
    "PlanError",
    "Planner",
    "align",
    "best_plan",
    "from_peak",
    "greedy_by_size",
    "live_bytes",
    "lower_bound",
    "naive",
    "plan_within",
    "verify_plan",
]
