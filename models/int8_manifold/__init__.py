"""Recall in int8 that survives damage, on small devices: arXiv:2606.13328, 8-bit bounded transformation matrices
(2026)."""

from .program import Int8Manifold

WORKLOAD = Int8Manifold
