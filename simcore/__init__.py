"""Ranks do counted work and send real payloads over shared links; every wait has a reason, every number a source."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Each name twice: that says to type checkers that it is ours to give.
if TYPE_CHECKING:
    from .assembly import Result as Result, read_scenario as read_scenario, run as run
    from .calibration import Benchmark as Benchmark
    from .collectives import ALGORITHMS as ALGORITHMS
    from .errors import (
        Deadlock as Deadlock,
        InputError as InputError,
        SimcoreError as SimcoreError,
        SimulationError as SimulationError,
    )
    from .fabric import Writes as Writes
    from .formats.comparison import WHOLE as WHOLE
    from .formats.execution import HOST as HOST, Execution as Execution, Node as Node
    from .formats.profile import Profile as Profile, read_profile as read_profile
    from .formats.recorded import read_executions as read_executions
    from .formats.recording import label as label
    from .formats.transforms import Shift as Shift, Transform as Transform, transform as transform
    from .metrics import Metric as Metric
    from .notebook import (
        draw_lines as draw_lines,
        draw_machine as draw_machine,
        draw_sweep as draw_sweep,
        draw_timeline as draw_timeline,
        draw_timelines as draw_timelines,
        draw_traffic as draw_traffic,
        reproduce as reproduce,
        run_sweep as run_sweep,
        time_collective as time_collective,
    )
    from .plot import (
        Bar as Bar,
        BarPanel as BarPanel,
        CellPanel as CellPanel,
        Curve as Curve,
        CurvePanel as CurvePanel,
        Drawing as Drawing,
        bars as bars,
        cells as cells,
        curves as curves,
    )
    from .report import load_run as load_run, write_run as write_run
    from .scenario import Scenario as Scenario
    from .schedule import COMPUTE as COMPUTE, DELAY as DELAY, Schedule as Schedule
    from .source import TraceFile as TraceFile, TraceFiles as TraceFiles, locate as locate, matching as matching
    from .testing import verify as verify
    from .trace import Column as Column
    from .units import Energy as Energy, Power as Power, Ratio as Ratio, Size as Size, Time as Time
    from .work import CostModel as CostModel, Kernel as Kernel, Roofline as Roofline, Virtual as Virtual, Work as Work
    from .work import width as width
    from .workload import Rank as Rank, Workload as Workload


__version__ = "0.1.0"

_HOME = {
    "assembly": ["Result", "read_scenario", "run"],
    "calibration": ["Benchmark"],
    "collectives": ["ALGORITHMS"],
    "errors": ["Deadlock", "InputError", "SimcoreError", "SimulationError"],
    "fabric": ["Writes"],
    "formats.comparison": ["WHOLE"],
    "formats.execution": ["HOST", "Execution", "Node"],
    "formats.profile": ["Profile", "read_profile"],
    "formats.recorded": ["read_executions"],
    "formats.recording": ["label"],
    "formats.transforms": ["Shift", "Transform", "transform"],
    "metrics": ["Metric"],
    "notebook": [
        "draw_lines",
        "draw_machine",
        "draw_sweep",
        "draw_timeline",
        "draw_timelines",
        "draw_traffic",
        "reproduce",
        "run_sweep",
        "time_collective",
    ],
    "plot": ["Bar", "BarPanel", "CellPanel", "Curve", "CurvePanel", "Drawing", "bars", "cells", "curves"],
    "report": ["load_run", "write_run"],
    "scenario": ["Scenario"],
    "schedule": ["COMPUTE", "DELAY", "Schedule"],
    "source": ["TraceFile", "TraceFiles", "locate", "matching"],
    "testing": ["verify"],
    "trace": ["Column"],
    "units": ["Energy", "Power", "Ratio", "Size", "Time"],
    "work": ["CostModel", "Kernel", "Roofline", "Virtual", "Work", "width"],
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
