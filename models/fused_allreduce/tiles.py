"""How the result of a fused kernel is cut: into tiles, tiles into shards of owners, and shards among work-groups."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

Column = np.ndarray[Any, np.dtype[np.int64]]


class Tile(NamedTuple):
    """A block of the result: its ``rows`` and its ``columns``."""

    rows: slice
    columns: slice


@dataclass(frozen=True)
class Tiles:
    """A result of ``rows`` x ``columns`` elements, in tiles of ``tile_rows`` x ``tile_columns``, numbered row by row.

    Owner o of ``world`` has a contiguous shard of whole rows of tiles; tile t is the work of work-group t modulo
    ``work_groups``, on every rank alike: so work-group g of an owner needs exactly what the work-groups g of all ranks
    store. What one work-group does for one owner is a *part*. Any sizes will do: shards differ by one row of tiles at
    most, and some parts are empty where there are fewer tiles than work-groups.
    """

    rows: int
    columns: int
    tile_rows: int
    tile_columns: int
    world: int
    work_groups: int

    @property
    def count(self) -> int:
        """Number of tiles."""
        return self._down * self._across

    def shard(self, owner: int) -> range:
        """Return the rows of the result that ``owner`` owns."""
        begin, end = self._lines[owner], self._lines[owner + 1]
        return range(min(begin * self.tile_rows, self.rows), min(end * self.tile_rows, self.rows))

    def part(self, owner: int, group: int) -> list[Tile]:
        """Return the tiles of the shard of ``owner`` that are the work of ``group``, in their order."""
        tiles = self.numbers(owner)
        mine = tiles[(group - tiles.start) % self.work_groups :: self.work_groups]
        return [self._tile(*divmod(number, self._across)) for number in mine]

    @cached_property
    def elements(self) -> Column:
        """Elements of every part, [owner, work-group]; 0 where it is empty."""
        found = np.zeros((self.world, self.work_groups), np.int64)
        np.add.at(found, (self.owners, np.arange(self.count) % self.work_groups), self.sizes)
        return found

    @cached_property
    def sizes(self) -> Column:
        """Elements of every tile, by its number."""
        heights = np.diff(np.minimum(np.arange(self._down + 1) * self.tile_rows, self.rows))
        widths = np.diff(np.minimum(np.arange(self._across + 1) * self.tile_columns, self.columns))
        return np.outer(heights, widths).ravel()

    @cached_property
    def owners(self) -> Column:
        """The owner of every tile, by its number."""
        return np.repeat(np.arange(self.world), np.diff(self._lines) * self._across)

    def numbers(self, owner: int) -> range:
        """Return the numbers of the tiles of an owner."""
        return range(self._lines[owner] * self._across, self._lines[owner + 1] * self._across)

    @cached_property
    def _down(self) -> int:
        return -(-self.rows // self.tile_rows)

    @cached_property
    def _across(self) -> int:
        return -(-self.columns // self.tile_columns)

    @cached_property
    def _lines(self) -> list[int]:
        """The first row of tiles of every owner, and the end of the last one's."""
        return [owner * self._down // self.world for owner in range(self.world + 1)]

    def _tile(self, line: int, place: int) -> Tile:
        top, left = line * self.tile_rows, place * self.tile_columns
        return Tile(
            slice(top, min(top + self.tile_rows, self.rows)), slice(left, min(left + self.tile_columns, self.columns))
        )
