"""The standard workloads W1 to W4, what is measured on them, and their twins in plain SimPy."""
