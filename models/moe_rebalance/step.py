"""The life of a step: rollout, placement, recompute, update, reduction of gradients; the first rank of every EP group
plays for all of it."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simcore import Rank

from .chunks import COMPUTED, FORWARD, Chunk, Frame, Kind, Told, Visit
from .loads import Loads
from .placement import Counts, Group
from .planned import Planned
from .planning import served
from .policies import POLICIES
from .prefetch import Prefetch
from .reduction import homes, reductions
from .report import STAGES
from .tensors import Operands
from .timing import Exchange, Layer
from .transfers import Paths, Speeds, Stage, measure, messages

if TYPE_CHECKING:
    from .program import Params

Program = Generator[Any, Any, None]

NO_MESSAGES: Counts = np.zeros((0, 2), np.int64)


@dataclass(frozen=True)
class Plan:
    """The step: its parameters, the shape of EP groups, GPUs a node, what the policy wants of each group,
    and the real tensors of the first group, if there are any."""

    params: "Params"
    group: Group
    per_node: int
    planned: Sequence[Planned]
    operands: Sequence[Operands]


class Job:
    """What the players of all groups share: the ranks whose lives they tell, speeds of the paths, and who has come to
    the reduction."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ranks: dict[int, Rank] = {}
        self.speeds: Speeds | None = None
        self._waiting: list[Any] = []

    def meet(self, rank: Rank) -> Generator[Any, Any, bool]:
        """Wait for the players of all groups; return whether this one was the last to come."""
        if len(self._waiting) + 1 == len(self.plan.planned):
            for event in self._waiting:
                event.succeed()
            self._waiting = []
            return True
        event = rank.event()
        self._waiting.append(event)
        yield event
        return False


def program(rank: Rank, plan: Plan) -> Program:
    """Live as one rank: the first of every EP group plays for all of it."""
    job = rank.shared(lambda: Job(plan))
    job.ranks[rank.index] = rank
    group, place = divmod(rank.index, plan.group.ranks)
    if place == 0:
        yield from Player(job, rank).live()
    if group < len(plan.operands):
        for each in plan.operands[group].served[place]:
            rank.give(each)


class Player:
    """Plays the step of one EP group, and tells the lives of its ranks."""

    def __init__(self, job: Job, rank: Rank) -> None:
        plan = job.plan
        self.job, self.rank, self.params, self.group = job, rank, plan.params, plan.group
        self.number = rank.index // plan.group.ranks
        self.planned = plan.planned[self.number]
        self.ranks = range(rank.index, rank.index + plan.group.ranks)
        self.frame = Frame(Exchange(plan.group.ranks, plan.group.per_node), self.params.tensor)
        travels = POLICIES[self.params.policy].travels
        self.measures = travels and self.params.transfers.estimates
        self.hosts = [rank.host(each) for each in self.ranks] if travels and self.params.transfers.reads_hosts else []
        self.last = 0

    def live(self) -> Program:
        """Go through the step."""
        params = self.params
        if self.measures:
            yield from self._measure()
        layer = Layer(self.rank, params.shape, params.rates, params.context)
        loads = Loads(self.planned, layer, self.group, params.shape)
        paths = Paths(params.transfers, self.group.ranks, self.group.per_node, self.hosts, self.job.speeds)
        self.prefetch = Prefetch(params.transfers, paths, loads, params.layers)
        yield from self._roll_out()
        self.ready = self._plans(self.rank.now)
        yield from self._place()
        yield from self._chunks("recompute", range(params.micro))
        each = params.micro // params.mini_batches
        for part in range(params.mini_batches):
            yield from self._chunks("update", range(part * each, (part + 1) * each))
            yield from self._reduce()
            if part + 1 < params.mini_batches and self.hosts:
                yield from self._stage("refresh", self._refresh(), self.rank.now)

    # ---- before the first layer

    def _measure(self) -> Program:
        if self.number == 0:
            everybody = range(len(self.job.plan.planned) * self.group.ranks)
            size = self.params.shape.expert_bytes
            per_node, hosts = self.job.plan.per_node, bool(self.hosts)
            self.job.speeds = yield from measure(self.rank, everybody, per_node, size, hosts)
        last = yield from self.job.meet(self.rank)
        del last
        self._told(self.rank.now, "idle", "measure")

    def _roll_out(self) -> Program:
        """Let the rollout pass; meanwhile the hosts get the weights that the last optimizer step left, where anything
        will be read there."""
        begin, rollout = self.rank.now, self.params.rollout
        copies = self._refresh() if self.hosts else []
        ended = self._begin(copies, "refresh")
        if rollout:
            yield self.rank.at(begin + rollout)
            self._told(begin + rollout, "compute", "rollout")
            self._row("rollout", begin)
        if ended is not None:
            yield ended
            self._told(self.rank.now, "wait", "refresh", "copies in hosts")
            self._row("refresh", begin + rollout)

    def _refresh(self) -> list[tuple[tuple[int, int], int]]:
        """Return the messages by which the weights of all experts come to the hosts: to the own one, and, where copies
        are everywhere, to the other nodes of the group."""
        params, group = self.params, self.group
        size = params.layers * params.shape.expert_bytes
        here = [(homes(group, rank), rank) for rank in range(group.ranks)]
        found = []
        for count, rank in here:
            nodes = range(group.nodes) if params.transfers.copies == "everywhere" else [rank // group.per_node]
            for node in nodes:
                beside = node * group.per_node + rank % group.per_node
                found.append(((rank, self.hosts[beside]), count * size))
        return [each for each in found if each[1]]

    def _plans(self, now: int) -> Counts:
        """Return when the plan of every micro-step and layer is there, [M, L], ps; plans for the whole step come first,
        then the others in the order in which they are needed.

        Model: planning begins when the rollout has ended, one thread plans one layer, and EP groups of a node share its
        threads evenly.
        """
        about, (whole, each) = self.params.planner, self.planned.efforts
        self.placed = now
        if not about.late:
            return np.full(each.shape, now)
        sharing = max(1, self.job.plan.per_node // self.group.ranks)
        threads = max(1, about.threads * self.group.nodes // sharing)
        policy = POLICIES[self.params.policy]
        jobs = [about.duration(policy.whole, effort) for effort in whole.tolist()]
        first = len(jobs)
        jobs += [about.duration(policy.each, effort) for effort in each.reshape(-1).tolist()]
        ends = served(jobs, threads, now)
        self.placed = max(ends[:first], default=now)
        ready = np.array(ends[first:]).reshape(each.shape)
        self.rank.record("planner", self.number, len(jobs), sum(jobs), max(jobs, default=0), max(ends, default=now))
        return np.maximum(ready, self.placed)

    def _place(self) -> Program:
        """Move what is placed for the whole step: homes with their share of the optimizer, and replicas."""
        size = self.params.shape.expert_bytes
        moved = [((int(a), int(b)), self.group.owned(size)) for _, _, a, b in self.planned.relocated]
        moved += [((int(a), int(b)), size) for _, _, a, b in self.planned.copied]
        begin = self.rank.now
        if moved and self.placed > begin:
            yield self.rank.at(self.placed)
            self._told(self.placed, "wait", "placement", "plan")
        yield from self._stage("placement", moved, begin)

    def _stage(self, name: str, moved: list[tuple[tuple[int, int], int]], begin: int) -> Program:
        ended = self._begin(moved, name)
        if ended is not None:
            yield ended
            self._told(self.rank.now, "wait", name, name)
            self._row(name, begin)

    def _begin(self, moved: list[tuple[tuple[int, int], int]], what: str) -> Any:
        if not moved:
            return None
        schedule = messages([ends for ends, _ in moved], [size for _, size in moved])
        return self.rank.begin(schedule, what, self.ranks)

    # ---- layer by layer

    def _chunks(self, stage: Stage, micros: Sequence[int]) -> Program:
        begin, params = self.rank.now, self.params
        buffers = min(params.transfers.buffers, params.layers)
        visits: list[Visit] = []
        loaded = 0
        for m in micros:
            now = self.rank.now
            visits = self._visits(stage, m, now, visits)
            following = self._visits(stage, m + 1, now, visits, buffers - 1) if m + 1 in micros else []
            chunk = Chunk(
                self.frame, visits, following, buffers=buffers, loaded=loaded,
                tensor_bytes=self._tensor_bytes(m), weights=params.shape.expert_bytes,
                gradients=params.transfers.gradient * params.shape.expert_bytes,
            )  # fmt: skip
            _, ended = yield from self.rank.play(chunk.schedule, stage, ranks=self.ranks)
            self._tell(stage, m, visits, chunk.told(now, ended))
            loaded = len(following)
        self._row(stage, begin)

    def _visits(
        self, stage: Stage, m: int, now: int, before: Sequence[Visit], most: int | None = None
    ) -> list[Visit]:  # fmt: skip
        """Return the visits of a micro-step, the first ``most`` of them: every layer on the way there, and in the
        update on the way back; ``before`` are those of the micro-step before.

        On the way back the weights of the last layers are there still: as many as there are buffers.
        """
        layers, transfers = self.params.layers, self.params.transfers
        found: list[Visit] = []
        for layer in [*range(layers), *(reversed(range(layers)) if stage == "update" else ())][:most]:
            back = len(found) >= layers
            weights = gradients = NO_MESSAGES
            if not back or layer < layers - transfers.buffers:
                before_it = [*before, *found]
                hidden = before_it[max(0, len(before_it) - transfers.buffers + 1) :]
                window = sum(visit.least for visit in hidden)
                weights = self.prefetch.weights(stage, layer, m, window, drops=not back)
            if back and transfers.gradient:
                gradients = self.prefetch.gradients(stage, layer, m)
            kind: Kind = "backward" if back else "forward"
            late = 0 if back else max(0, int(self.ready[m, layer]) - now)
            found.append(Visit(kind, self.prefetch.load(stage, layer, m), weights, gradients, late))
        return found

    def _tensor_bytes(self, m: int) -> int:
        """Return the bytes that a rank sends for tensor parallelism in a pass: an all-gather and a reduce-scatter.

        Model: all ranks send as much as the one with the most tokens.
        """
        tensor = self.params.tensor
        return 2 * (tensor - 1) * int(self.planned.tokens[m].max()) * self.params.shape.token_bytes

    # ---- the end of the update

    def _reduce(self) -> Program:
        """Add up gradients over the copies of every weight, and give the new weights back, when all groups are there.

        Model: an optimizer shared by the copies; its arithmetic takes no time.
        """
        last = yield from self.job.meet(self.rank)
        begin = self.rank.now
        self._told(begin, "wait", "reduction", "other EP groups")
        if last:
            everybody = range(len(self.job.ranks))
            for operation, schedule in reductions(self.rank, self.params, self.group, len(everybody)):
                if len(schedule):
                    yield from self.rank.play(schedule, operation, ranks=everybody)
        yield from self.job.meet(self.rank)
        self._told(self.rank.now, "wait", "reduction", "gradients of all groups")
        self._row("reduction", begin)

    # ---- what is told of it

    def _tell(self, stage: Stage, m: int, visits: Sequence[Visit], told: Told) -> None:
        """Tell the lives of the ranks in a micro-step: what they computed, then what they waited for, by reason.

        Model: spans stand for a whole micro-step, computation first; the table of layers has the order.
        """
        compute = np.zeros(self.group.ranks, np.int64)
        computing, exchange, waits = 0, 0, {"plan": 0, "weights of experts": 0}
        for index, visit in enumerate(visits):
            row = dict.fromkeys(FORWARD, 0)
            at = int(told.before[index])
            plan = max(0, int(told.planned[index]) - at)
            weights = max(0, int(told.loaded[index]) - at - plan)
            waits["plan"] += plan
            waits["weights of experts"] += weights
            begin = at + plan + weights
            for number, ends in enumerate(told.stages[index].tolist()):
                for name, end in zip(FORWARD if number == 0 else FORWARD[::-1], ends, strict=True):
                    row[name] += end - begin
                    begin = end
            compute += visit.times * visit.load.computes
            took = sum(row[name] for name in COMPUTED)
            computing, exchange = computing + took, exchange + sum(row.values()) - took
            self._row_of_layer(stage, m, visit, index, at, plan, weights, row, begin)
        ended = int(told.ended[-1])
        waits["gradients of replicas"] = max(0, told.home - max(ended, told.tail))
        waits["weights of experts"] += max(0, told.tail - ended)
        for place, index in enumerate(self.ranks):
            rank, now = self.job.ranks[index], self.last
            parts = [
                ("compute", "", int(compute[place])),
                ("wait", "exchange of tokens", exchange),
                ("wait", "slowest rank", computing - int(compute[place])),
                *(("wait", why, took) for why, took in waits.items()),
            ]
            for activity, why, took in parts:
                if took:
                    rank.lived(now, now + took, activity, stage, reason=why)
                now += took
            assert now == told.end, (now, told.end)
        self.last = told.end

    def _row_of_layer(
        self, stage: Stage, m: int, visit: Visit, index: int, at: int, plan: int, weights: int, row: dict[str, int],
        end: int,
    ) -> None:  # fmt: skip
        layers = self.params.layers
        layer = index if index < layers else 2 * layers - 1 - index
        uneven, dropped = self.prefetch.uneven(stage, layer, m)
        kinds = [0, 0, 0]
        if len(visit.weights):
            source, target = np.asarray(visit.weights).T
            near = int((source // self.group.per_node == target // self.group.per_node).sum())
            hosts = int((source < 0).sum())
            kinds = [hosts, near, len(source) - hosts - near]
        self.rank.record(
            "layers", self.number, stage, visit.kind, m, layer, at, plan, weights, *row.values(), end,
            self.group.ranks, self.group.nodes, *uneven, *kinds, len(visit.gradients), dropped,
        )  # fmt: skip

    def _told(self, end: int, activity: str, what: str, reason: str = "") -> None:
        """Tell that all ranks were at ``what`` since they last told so."""
        if end > self.last:
            for index in self.ranks:
                self.job.ranks[index].lived(self.last, end, activity, what, reason=reason)
        self.last = end

    def _row(self, name: str, begin: int) -> None:
        assert name in STAGES
        self.rank.record("stages", self.number, name, begin, self.rank.now)
