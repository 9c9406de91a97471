"""ForeMoE: expert placement planned from the routing of every micro-step (Zhou et al., arXiv:2606.11867)."""

from .program import MoeRebalance

WORKLOAD = MoeRebalance
