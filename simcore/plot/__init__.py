"""Figures from the tables of a run: who did what, which link was busy, who sent how much to whom, the machine."""

from simcore.plot._bars import Bar, BarPanel, bars
from simcore.plot._canvas import WIDTH, time_unit
from simcore.plot._curves import Curve, CurvePanel, curves
from simcore.plot._places import HEIGHT, SIDE, Picture, picture
from simcore.plot._series import MOST_LINKS, chosen_links, per_column
from simcore.plot._timeline import COLOURS, OTHER, WAITS, activity_classes, activity_image, job_borders, timeline
from simcore.plot._timelines import timelines
from simcore.plot._topology import link_kinds, topology
from simcore.plot._traffic import pair_matrix, traffic

__all__ = [
    "COLOURS",
    "HEIGHT",
    "MOST_LINKS",
    "OTHER",
    "SIDE",
    "WAITS",
    "WIDTH",
    "Bar",
    "BarPanel",
    "Curve",
    "CurvePanel",
    "Picture",
    "activity_classes",
    "activity_image",
    "bars",
    "chosen_links",
    "curves",
    "job_borders",
    "link_kinds",
    "pair_matrix",
    "per_column",
    "picture",
    "time_unit",
    "timeline",
    "timelines",
    "topology",
    "traffic",
]
