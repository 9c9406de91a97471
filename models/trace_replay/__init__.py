"""Execution traces of all ranks run again: recorded work lasts as it did, what moves is timed anew (no paper)."""

from .program import TraceReplay

WORKLOAD = TraceReplay
