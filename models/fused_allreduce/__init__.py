"""Eidola: Modeling Multi-GPU Network Communication Traffic (Selagamsetty et al., arXiv:2606.12638, 2026).

One target GPU computes, sends, waits for flags and reduces; every other GPU is an eidolon that replays
the time-stamped peer-to-peer writes of a timing profile.
"""

from .program import FusedAllReduce

WORKLOAD = FusedAllReduce
