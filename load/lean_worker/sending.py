"""The lean sender's loop: one thread, one selector, every association of a worker.

Invariant: every instance of the job gets exactly one record, whatever peers do, and the loop ends:
by its last response, or by the time-outs of the job's settings. Must not keep a result from a
message that it did not send.
"""

from __future__ import annotations

import select
import selectors
import time
from collections import Counter, deque

from load.lean_worker.frame import Frame, encode_frame
from load.lean_worker.job import NOT_TRIED, Job
from load.lean_worker.lane import Lane, LaneLost, State
from load.lean_worker.ledger import Ledger

CONTEXT_REFUSED = "presentation context not accepted"
TIMED_OUT = "timed out"
_NS = 1_000_000_000
# How often time-outs are looked for; the wait for a peer is bounded by it.
_SWEEP_NS = _NS // 20
_RECONNECT_BASE_NS = _NS // 10
_RELEASE_TIMEOUT_NS = 2 * _NS
# epoll waits in whole milliseconds: below two of them select(2), which has microseconds, waits.
_FINE_WAIT_S = 0.002

_clock = time.perf_counter_ns


class Sending:
    """One job, from the first connect to the last release."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._settings = job.settings
        self._selector = selectors.EpollSelector()
        self._lanes = [
            Lane(job.settings, job.associate_request) for _ in range(job.settings.associations)
        ]
        self._watched: dict[Lane, tuple[int, int]] = {}
        self._ready: deque[Lane] = deque()
        self._frames: dict[tuple[int, int], Frame] = {}
        self._next = 0
        self._swept_ns = 0
        self.ledger = Ledger(len(job.values))
        self.association_problems: Counter[str] = Counter()
        self.opened = 0
        self.window = 0

    def associate(self) -> int:
        """Opens every association, as often as is allowed; how many are open on return.

        All frames are encoded then too, for the lengths that were negotiated.
        """
        for lane in self._lanes:
            self._connect(lane)
        waiting = (State.CLOSED, State.CONNECTING, State.ASSOCIATING)
        while any(lane.state in waiting for lane in self._lanes):
            self._turn(_SWEEP_NS)
        for lane in self._lanes:
            if lane.state == State.OPEN:
                for number in set(self._job.template_of):
                    self._head(lane, number)
        return sum(lane.state == State.OPEN for lane in self._lanes)

    def run(self, start_ns: int) -> None:
        """Sends everything that is due from `start_ns` (of the monotonic clock) on."""
        end_ns = start_ns + int(self._settings.seconds_max * _NS)
        while (now := _clock()) < start_ns:
            self._turn(start_ns - now)
        while self.ledger.unresolved:
            now = _clock()
            if now > end_ns:
                self._give_up(NOT_TRIED)
            wait_ns = self._dispatch(now, start_ns)
            if self.ledger.unresolved:
                self._turn(min(wait_ns, max(end_ns - now, 0) if self._has_more else _SWEEP_NS))

    def release(self) -> None:
        """Ends every association in order, or at once where the peer does not answer in time."""
        until_ns = _clock() + _RELEASE_TIMEOUT_NS
        for lane in self._lanes:
            if lane.state == State.OPEN:
                try:
                    lane.release()
                except LaneLost:
                    lane.close()
        while _clock() < until_ns and any(lane.state == State.RELEASING for lane in self._lanes):
            self._turn(_SWEEP_NS)
        for lane in self._lanes:
            lane.close()
        self._selector.close()

    @property
    def _has_more(self) -> bool:
        return self._next < len(self._job.values)

    def _dispatch(self, now: int, start_ns: int) -> int:
        """Sends what is due where there is room; how long nothing more will be due."""
        due = self._job.due_ns
        while self._ready and self._has_more:
            wait_ns = start_ns + due[self._next] - now
            if wait_ns > 0:
                return min(wait_ns, _SWEEP_NS)
            lane = self._ready.popleft()
            lane.is_offered = False
            if lane.has_room:
                self._send_next(lane)
                self._offer(lane)
        return _SWEEP_NS

    def _offer(self, lane: Lane) -> None:
        if lane.has_room and not lane.is_offered:
            lane.is_offered = True
            self._ready.append(lane)

    def _send_next(self, lane: Lane) -> None:
        number = self._next
        self._next += 1
        template = self._job.template_of[number]
        if self._job.templates[template].context_id not in lane.accepted:
            self.ledger.resolve(number, CONTEXT_REFUSED)
            return
        frame, head = self._head(lane, template)
        values = self._job.values[number]
        for start, end, first, last in frame.pieces:
            head[start:end] = values[first:last]
        message_id = lane.next_message_id()
        at = frame.message_id_at
        head[at : at + 2] = message_id.to_bytes(2, "little")
        lane.in_flight[message_id] = number
        self.ledger.sent(number, _clock())
        try:
            lane.send(head, frame.tail)
        except LaneLost as fault:
            self._lose(lane, str(fault))
        else:
            if lane.wants_write:
                self._watch(lane)

    def _head(self, lane: Lane, template: int) -> tuple[Frame, bytearray]:
        key = (template, lane.fragment_bytes_max)
        frame = self._frames.get(key)
        if frame is None:
            one = self._job.templates[template]
            frame = encode_frame(
                one.data_set, one.places, one.sop_class_uid, one.context_id, key[1]
            )
            self._frames[key] = frame
        head = lane.heads.get(template)
        if head is None:
            head = lane.heads[template] = bytearray(frame.head)
        return frame, head

    def _turn(self, wait_ns: int) -> None:
        """Waits once for peers and takes what they say."""
        wait_s = wait_ns / _NS
        if wait_s < _FINE_WAIT_S and self._watched:
            if wait_s > 0:
                select.select([self._selector], [], [], wait_s)
            wait_s = 0.0
        for key, events in self._selector.select(min(wait_s, _SWEEP_NS / _NS)):
            lane: Lane = key.data
            try:
                if events & selectors.EVENT_WRITE:
                    self._write(lane)
                if events & selectors.EVENT_READ:
                    self._read(lane)
            except LaneLost as fault:
                self._lose(lane, str(fault))
        now = _clock()
        if now - self._swept_ns > _SWEEP_NS:
            self._swept_ns = now
            self._sweep(now)

    def _write(self, lane: Lane) -> None:
        lane.go_on()
        if not lane.wants_write:
            self._watch(lane)
            self._offer(lane)

    def _read(self, lane: Lane) -> None:
        state = lane.state
        try:
            lane.receive()
        finally:
            # What was answered counts, even if an A-ABORT stood behind it.
            if lane.responses:
                self._take_responses(lane)
        if lane.state != state:
            self._note_state(lane)

    def _take_responses(self, lane: Lane) -> None:
        now = _clock()
        responses, lane.responses = lane.responses, []
        for message_id, status in responses:
            number = lane.in_flight.pop(message_id, None)
            if number is None:
                raise LaneLost("protocol: a response to nothing that was asked")
            self.ledger.answered(number, now, status)
        self._offer(lane)

    def _note_state(self, lane: Lane) -> None:
        if lane.state == State.OPEN:
            self.opened += 1
            self.window = min(self.window or lane.window, lane.window)
            # Another maximum length than last time: the buffers are of the old one.
            lane.heads.clear()
            self._offer(lane)
        elif lane.state == State.CLOSED:
            self._unwatch(lane)
            lane.state = State.GIVEN_UP

    def _connect(self, lane: Lane) -> None:
        lane.deadline_ns = _clock() + int(self._settings.association_timeout_s * _NS)
        try:
            lane.connect()
        except LaneLost as fault:
            self._lose(lane, str(fault))
        else:
            self._watch(lane)

    def _lose(self, lane: Lane, problem: str) -> None:
        """Resolves what was in flight, and sees to another association or to none."""
        if lane.state == State.RELEASING:
            # All was answered: how a peer ends an association is no matter of this run.
            self._unwatch(lane)
            lane.close()
            lane.state = State.GIVEN_UP
            return
        if lane.responses:
            self._take_responses(lane)
        self.association_problems[problem] += 1
        self._unwatch(lane)
        lane.close(is_abort=True)
        for number in lane.in_flight.values():
            self.ledger.resolve(number, problem)
        lane.in_flight.clear()
        if lane.reconnects >= self._settings.reconnects_max:
            lane.state = State.GIVEN_UP
            if all(one.state == State.GIVEN_UP for one in self._lanes):
                self._give_up(f"no association: {problem}")
            return
        lane.deadline_ns = _clock() + (_RECONNECT_BASE_NS << min(lane.reconnects, 4))
        lane.reconnects += 1

    def _give_up(self, problem: str) -> None:
        while self._has_more:
            self.ledger.resolve(self._next, problem)
            self._next += 1

    def _sweep(self, now: int) -> None:
        response_ns = int(self._settings.response_timeout_s * _NS)
        for lane in self._lanes:
            if lane.state == State.CLOSED and now > lane.deadline_ns:
                self._connect(lane)
            elif lane.state in (State.CONNECTING, State.ASSOCIATING) and now > lane.deadline_ns:
                self._lose(lane, TIMED_OUT)
            elif lane.state == State.OPEN and lane.in_flight:
                oldest = self.ledger.sent_ns[next(iter(lane.in_flight.values()))]
                if now - oldest > response_ns:
                    self._lose(lane, TIMED_OUT)

    def _watch(self, lane: Lane) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if lane.wants_write else 0)
        known = self._watched.get(lane)
        entry = (lane.socket.fileno(), events)
        if known is None:
            self._selector.register(lane.socket, events, lane)
        elif known != entry:
            self._selector.modify(lane.socket, events, lane)
        self._watched[lane] = entry

    def _unwatch(self, lane: Lane) -> None:
        if self._watched.pop(lane, None) is not None:
            self._selector.unregister(lane.socket)
