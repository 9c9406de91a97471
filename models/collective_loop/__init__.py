"""Computation and a collective, in turn: what a collective costs beside the computation around it (no paper)."""

from .program import CollectiveLoop

WORKLOAD = CollectiveLoop
