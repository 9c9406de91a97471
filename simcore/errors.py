"""The few error types; each carries one finished sentence, because SimPy rebuilds exceptions from their arguments."""


class SimcoreError(Exception):
    """Anything simcore reports to its user: one finished string, and the exit code of the command line."""

    exit_code = 1


class InputError(SimcoreError):
    """What was given cannot be used; the text says where, what was wrong and what would be right."""

    exit_code = 2


class SimulationError(SimcoreError):
    """The simulation itself failed: an impossible delay, a watch-dog limit, a program that broke the rules."""

    exit_code = 3


class Deadlock(SimulationError):
    """Nothing can happen any more although some ranks still wait; the text names them and what they wait for."""
