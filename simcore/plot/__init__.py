"""Figures from the tables of a run or a sweep: who did what, which link was busy, who sent how much to whom, what moves
a metric, the machine; for papers and for the screen."""

from simcore.plot._bars import Bar, BarPanel, bars
from simcore.plot._canvas import METADATA, Drawing, save, sheet_of, time_unit
from simcore.plot._cells import CellPanel, cells
from simcore.plot._curves import Curve, CurvePanel, curves, line_style
from simcore.plot._places import HEIGHT, SIDE, Picture, picture
from simcore.plot._series import MOST_LINKS, chosen_links, per_column
from simcore.plot._style import WIDTHS, WidthName
from simcore.plot._sweep import Kind, sweep
from simcore.plot._timeline import COLOURS, OTHER, WAITS, activity_classes, activity_image, job_borders, timeline
from simcore.plot._timelines import timelines
from simcore.plot._topology import link_kinds, topology
from simcore.plot._traffic import pair_matrix, traffic

__all__ = [
    "COLOURS",
    "HEIGHT",
    "METADATA",
    "MOST_LINKS",
    "OTHER",
    "SIDE",
    "WAITS",
    "WIDTHS",
    "Bar",
    "BarPanel",
    "CellPanel",
    "Curve",
    "CurvePanel",
    "Drawing",
    "Kind",
    "Picture",
    "WidthName",
    "activity_classes",
    "activity_image",
    "bars",
    "cells",
    "chosen_links",
    "curves",
    "job_borders",
    "line_style",
    "link_kinds",
    "pair_matrix",
    "per_column",
    "picture",
    "save",
    "sheet_of",
    "sweep",
    "time_unit",
    "timeline",
    "timelines",
    "topology",
    "traffic",
]
