"""Small real traces and golden digests; installs as simcore.traces."""
