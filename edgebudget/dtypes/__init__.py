"""Dtype options, one file each."""

from edgebudget.dtypes.interface import Assignment, DtypeOption, Held
from edgebudget.registry import Registry

DTYPES: Registry[DtypeOption] = Registry("edgebudget.dtypes", "OPTION", "dtype")

__all__ = ["DTYPES", "Assignment", "DtypeOption", "Held"]
