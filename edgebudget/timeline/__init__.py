"""Memory over operators for other people's viewers, one file a format."""

from edgebudget.registry import Registry
from edgebudget.timeline.interface import TimelineFormat

TIMELINES: Registry[TimelineFormat] = Registry("edgebudget.timeline", "TIMELINE", "format")

__all__ = ["TIMELINES", "TimelineFormat"]
