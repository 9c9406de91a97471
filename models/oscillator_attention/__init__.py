"""Attention by Synchronization in Coupled Oscillator Networks (Pasqualetti and Guo, arXiv:2606.12059, 2026)."""

from .program import OscillatorAttention

WORKLOAD = OscillatorAttention
