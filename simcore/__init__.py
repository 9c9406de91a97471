"""simcore: ranks do counted work and send real payloads over shared links; every wait has a reason, every number a source."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "CostModel": "work:CostModel",
    "Deadlock": "errors:Deadlock",
    "InputError": "errors:InputError",
    "Kernel": "work:Kernel",
    "Profile": "formats.profile:Profile",
    "Rank": "workload:Rank",
    "Result": "assembly:Result",
    "Roofline": "work:Roofline",
    "Scenario": "scenario:Scenario",
    "SimcoreError": "errors:SimcoreError",
    "SimulationError": "errors:SimulationError",
    "Size": "units:Size",
    "Time": "units:Time",
    "TraceFile": "source:TraceFile",
    "Virtual": "work:Virtual",
    "Work": "work:Work",
    "Workload": "workload:Workload",
    "Writes": "fabric:Writes",
    "load_run": "report:load_run",
    "locate": "source:locate",
    "read_profile": "formats.profile:read",
    "read_scenario": "assembly:read_scenario",
    "run": "assembly:run",
    "write_run": "report:write_run",
}
"""Where each name of the façade lives, as module:name."""

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Load a name of the façade when it is first used, so that ``import simcore`` itself costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'simcore' has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    return getattr(import_module(f"simcore.{module}"), attribute)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
