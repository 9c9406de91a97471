"""One hypothesis profile for all tests: derandomized, without deadlines, because the first example may compile."""

from hypothesis import settings

settings.register_profile("simcore", derandomize=True, deadline=None)
settings.load_profile("simcore")
