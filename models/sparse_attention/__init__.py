"""MiniMax Sparse Attention (arXiv:2606.13392): block-sparse attention with an index branch, alone and in a system."""

from .program import SparseAttention

WORKLOAD = SparseAttention
