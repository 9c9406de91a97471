"""Figures from the tables of a run: who did what, which link was busy, who sent how much to whom, the machine."""

from simcore.plot._canvas import WIDTH, time_unit
from simcore.plot._curves import Curve, CurvePanel, curves
from simcore.plot._series import MOST_LINKS, per_column
from simcore.plot._timeline import COLOURS, OTHER, WAITS, activity_classes, activity_image, job_borders, timeline
from simcore.plot._timelines import timelines
from simcore.plot._topology import topology
from simcore.plot._traffic import pair_matrix, traffic

__all__ = [
    "COLOURS",
    "MOST_LINKS",
    "OTHER",
    "WAITS",
    "WIDTH",
    "Curve",
    "CurvePanel",
    "activity_classes",
    "activity_image",
    "curves",
    "job_borders",
    "pair_matrix",
    "per_column",
    "time_unit",
    "timeline",
    "timelines",
    "topology",
    "traffic",
]
