"""Scenarios and hardware sheets in YAML; installs as simcore.scenarios."""
