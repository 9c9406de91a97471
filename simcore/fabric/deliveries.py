"""What leaves the data plane for the recorder: messages that arrived, and the utilisation of links."""

import numpy as np

from simcore.fabric import _kernels as kernels
from simcore.fabric._kernels import META_DST, META_FLAG, META_WHAT, META_WORD
from simcore.fabric._policies import Policy
from simcore.fabric._store import Table
from simcore.trace import CHUNK, Coded, Recorder, deferred_interrupt
from simcore.units import LARGEST

KINDS = ("data", "flag")

MOST_BINS = 4_096
"""Bins of a link's utilisation; when simulated time passes the last one, pairs merge and a bin doubles."""
BIN_WORDS = 2**23
"""Words that the bins of all links may take together; machines with very many links get fewer bins a link."""


class Deliveries:
    """Messages that have arrived and are not yet recorded, and the bins of the ``servers``; ``names`` are those of
    messages, by number, and may grow."""

    def __init__(self, policy: Policy, recorder: Recorder | None, servers: list[str], names: dict[str, int]) -> None:
        self._policy, self._state, self._head = policy, policy.state, policy.head
        self._recorder, self._servers, self._names = recorder, servers, names
        self._rows: list[Table] = []
        self._undescribed, self._enough = 0, 2 * CHUNK
        self._head[kernels.RECORDING] = recorder is not None
        if recorder is not None:
            count = MOST_BINS
            while count > 64 and 2 * count * len(servers) > BIN_WORDS:
                count //= 2
            self._state[kernels.T_BINS] = np.zeros((len(servers), count, 2), np.int64)

    def collect(self) -> None:
        """Take the deliveries off the list that the loop has filled; an interrupt waits until they are safe."""
        with deferred_interrupt():
            self._take_deliveries()

    def _take_deliveries(self) -> None:
        count = int(self._head[kernels.DONE])
        self._head[kernels.DONE] = 0
        rows = self._state[kernels.T_DONE][:count]
        if self._recorder is None:
            self._rows.append(rows[:, [kernels.D_ISSUED, kernels.D_ARRIVED]])
            return
        self._rows.append(rows.copy())
        self._undescribed += count
        if self._undescribed >= self._enough:
            # Whatever is delivered from now on arrives at this instant or later.
            self._record_transfers(self._head.item(kernels.WHERE))

    def _record_transfers(self, until: int) -> None:
        """Hand the recorder the deliveries before ``until``, ps, in the order of (arrival, source, sequence)."""
        rows = np.concatenate([np.zeros((0, kernels.DELIVERY_COLUMNS), np.int64), *self._rows])
        places = np.lexsort((rows[:, kernels.D_ORDER], rows[:, kernels.D_ARRIVED]))
        ripe = int(np.searchsorted(rows[places, kernels.D_ARRIVED], until))
        self._rows = [rows[places[ripe:]]]
        # Those still held back are sorted again next time: wait until there are twice as many.
        self._undescribed = len(self._rows[0])
        self._enough = 2 * (CHUNK + self._undescribed)
        order, meta, size, issued, arrived, queued = (
            rows[places[:ripe], column]
            for column in (
                kernels.D_ORDER, kernels.D_META, kernels.D_SIZE, kernels.D_ISSUED, kernels.D_ARRIVED, kernels.D_QUEUED
            )
        )  # fmt: skip
        what = (meta >> META_WHAT) & kernels.WHAT_MASK
        sets = (meta & META_WORD) > 0
        what[sets] = self._state[kernels.T_STORES][what[sets], kernels.STORE_WHAT]
        assert self._recorder is not None
        self._recorder.extend(
            "transfers",
            {
                "src": (order >> kernels.ORDER_SOURCE).astype(np.int32),
                "dst": (meta >> META_DST).astype(np.int32),
                "sequence": order & kernels.SEQUENCE_MASK,
                "size_bytes": size,
                "kind": Coded(KINDS, meta & META_FLAG),
                "issued_ps": issued,
                "arrived_ps": arrived,
                "queued_ps": queued,
                "what": Coded([*self._names, ""], what),
            },
        )

    def record(self, until: int = LARGEST) -> None:
        """Hand the recorder what it has not seen: the deliveries before ``until``, ps, and the utilisation of every
        link that carried something.

        What a link has accepted is booked ahead, so a run that is cut short must say where.
        """
        if self._recorder is None:
            return
        self.collect()
        self._record_transfers(until)
        width = 1 << int(self._head[kernels.SHIFT])
        bins = self._state[kernels.T_BINS]
        for index, name in enumerate(self._servers):
            rows = bins[index, : -(-until // width)]
            carried, busy = self._policy.payload(index, rows[:, 1]), self._policy.busy(index, rows)
            (used,) = np.nonzero((busy > 0) | (carried > 0))
            if len(used):
                self._recorder.extend(
                    "links",
                    {
                        "link": Coded([name], np.zeros(len(used), np.int64)),
                        "t0_ps": used * width,
                        "t1_ps": (used + 1) * width,
                        "busy_ps": busy[used],
                        "size_bytes": carried[used],
                    },
                )

    def completions(self) -> tuple[Table, Table]:
        """Return when each message so far was issued and when it arrived, ps; only for a fabric without recorder."""
        self.collect()
        rows = np.concatenate([np.zeros((0, 2), np.int64), *self._rows])
        return rows[:, 0], rows[:, 1]
