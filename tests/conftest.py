"""One hypothesis profile for all tests: derandomized, without deadlines, because the first example may compile; and one
browser a worker."""

from collections.abc import Iterator

import pytest
from browser import Browser
from hypothesis import settings

settings.register_profile("simcore", derandomize=True, deadline=None)
settings.load_profile("simcore")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with Browser() as running:
        yield running
