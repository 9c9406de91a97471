"""`python -m simcore.cli` is the command `simcore`."""

from simcore.cli import process

process()
