"""Ranks do counted work and send real payloads over shared links; every wait has a reason, every number a source."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .assembly import Result, read_scenario, run
    from .collectives import ALGORITHMS
    from .errors import Deadlock, InputError, SimcoreError, SimulationError
    from .fabric import Writes
    from .formats.comparison import WHOLE
    from .formats.execution import HOST, Execution, Node
    from .formats.profile import Profile, read_profile
    from .formats.recorded import read_executions
    from .formats.recording import label
    from .formats.transforms import Shift, Transform, transform
    from .notebook import (
        Drawing,
        draw_lines,
        draw_machine,
        draw_timeline,
        draw_timelines,
        draw_traffic,
        reproduce,
        run_sweep,
        time_collective,
    )
    from .plot import Curve, CurvePanel, curves
    from .report import load_run, write_run
    from .scenario import Scenario
    from .schedule import COMPUTE, DELAY, Schedule
    from .source import TraceFile, TraceFiles, locate, matching
    from .units import Size, Time
    from .work import CostModel, Kernel, Roofline, Virtual, Work
    from .workload import Rank, Workload

__version__ = "0.1.0"

_HOME = {
    "assembly": ["Result", "read_scenario", "run"],
    "collectives": ["ALGORITHMS"],
    "errors": ["Deadlock", "InputError", "SimcoreError", "SimulationError"],
    "fabric": ["Writes"],
    "formats.comparison": ["WHOLE"],
    "formats.execution": ["HOST", "Execution", "Node"],
    "formats.profile": ["Profile", "read_profile"],
    "formats.recorded": ["read_executions"],
    "formats.recording": ["label"],
    "formats.transforms": ["Shift", "Transform", "transform"],
    "notebook": [
        "Drawing",
        "draw_lines",
        "draw_machine",
        "draw_timeline",
        "draw_timelines",
        "draw_traffic",
        "reproduce",
        "run_sweep",
        "time_collective",
    ],
    "plot": ["Curve", "CurvePanel", "curves"],
    "report": ["load_run", "write_run"],
    "scenario": ["Scenario"],
    "schedule": ["COMPUTE", "DELAY", "Schedule"],
    "source": ["TraceFile", "TraceFiles", "locate", "matching"],
    "units": ["Size", "Time"],
    "work": ["CostModel", "Kernel", "Roofline", "Virtual", "Work"],
    "workload": ["Rank", "Workload"],
}
"""The façade: which names come from which module. Type checkers read the same from the imports above."""

_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = ["__version__", *sorted(_MODULE)]


def __getattr__(name: str) -> Any:
    """Load a name of the façade when it is first used, so that ``import simcore`` itself costs nothing."""
    if name not in _MODULE:
        raise AttributeError(f"module 'simcore' has no attribute {name!r}")
    return getattr(import_module(f"simcore.{_MODULE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
