"""One hypothesis profile for all tests: derandomized, without deadlines, because the first example may compile; and one
browser a worker."""

import signal
from collections.abc import Iterator

import pytest
from browser import Browser
from hypothesis import settings

settings.register_profile("simcore", derandomize=True, deadline=None)
settings.load_profile("simcore")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it runs in the background deaf to Ctrl-C, which some tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with Browser() as running:
        yield running
