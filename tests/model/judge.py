"""The judge: is there one plain sequential counter of which everything that anyone was told is true?

The store's own steps give the order. Each answer has to find its place in it: between its call and its return, in a
step of its own writer, with the value, the revision and the reason that a plain counter gives there. What the steps
did beyond the answers must be what callers are in doubt about, each once. So an operation that counted twice, or
although its caller was told that it did not, leaves a step that nothing explains.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TypeAlias

import msgspec

from plusone.errors import AcknowledgedDataLost, OutcomeUnknown, PlusoneError, TokenReused
from plusone.stores.protocol import Answer
from plusone.types import Operation, Outcome
from tests.model import plain
from tests.model.history import Call, History
from tests.model.network import Phase, Sent, Step
from tests.model.plain import ABSENT, State
from tests.model.virtual import EPOCH_SECONDS

ACKED_REMEMBERED_SECONDS = 60.0
"""A writer forgets 2 minutes after its batch was asked for, and its answer comes within a minute of that."""
_SEARCH_STEPS_MAX = 100_000
_EDGE_SECONDS = 0.002
"""The store counts in whole milliseconds, and virtual time does not."""


class _Intent(msgspec.Struct, eq=False):
    """What callers want to happen once: one call, or all calls with one token and the same operations."""

    key: str
    token: str | None
    operations: tuple[Operation, ...]
    calls: list[Call] = []
    answered: bool = False
    """Answered with an outcome of a step that was not undone."""
    spent: bool = False
    """Used to explain a step already."""

    def doubtful(self, step: Step, sent: Sent, failovers: bool) -> bool:
        """Whether this step may have applied it without anybody having been told.

        A step that was undone may have applied what was told not to have happened: now it has not. And an old packet
        may bring back what was answered and then undone.
        """
        if self.key != step.request.key or step.request.delete != (self.operations[0].kind == "delete"):
            return False
        if self.token is not None:
            # That it is not recorded twice within its retention is a rule of its own.
            if all(token.token != self.token for token in step.request.tokens):
                return False
        elif not step.lost and (self.answered or self.spent):
            return False
        return any(
            call.process == sent.process
            and call.called <= sent.time
            and (
                step.lost
                or call.result is None
                or isinstance(call.result, OutcomeUnknown)
                or (failovers and isinstance(call.result, list))
            )
            for call in self.calls
        )


class _Judge:
    def __init__(self, history: History) -> None:
        self.history = history
        self.violations: list[str] = []
        self.intents: dict[tuple[object, ...], _Intent] = {}
        self.by_key: dict[str, list[int]] = {}
        """The numbers of each counter's steps."""
        self.claims: list[dict[int, tuple[_Intent, Operation, Outcome]]] = [{} for _ in history.steps]
        """For each step, by revision, who was told that it was theirs."""
        self.chains: list[list[State]] = []
        """For each step, the states that the counter went through in it."""
        for number, step in enumerate(history.steps):
            self.by_key.setdefault(step.request.key, []).append(number)
        for number, call in enumerate(history.calls):
            subject = (call.key, number) if call.token is None else (call.key, call.token, call.operations)
            intent = self.intents.setdefault(subject, _Intent(call.key, call.token, call.operations, []))
            intent.calls.append(call)

    def verdict(self) -> list[str]:
        for intent in self.intents.values():
            for call in intent.calls:
                self._claim(intent, call)
        for number, step in enumerate(self.history.steps):
            self.chains.append(self._explain(number, step))
        for intent in self.intents.values():
            for call in intent.calls:
                self._check_call(intent, call)
            self._check_same_answers(intent)
        self._check_reads()
        self._check_steps()
        self._check_gaps()
        return self.violations

    # Where an answer belongs.

    def _claim(self, intent: _Intent, call: Call) -> None:
        if not isinstance(call.result, list):
            return
        for operation, outcome in zip(call.operations, call.result, strict=True):
            if not outcome.applied:
                continue
            number = self._step_of(intent, call, outcome)
            if number is None:
                self.violations.append(f"answered as applied, but no step did it: {outcome} to {call}")
                continue
            claim = self.claims[number].setdefault(outcome.revision, (intent, operation, outcome))
            if claim[0] is not intent or (claim[1] is not operation and claim[1] != operation):
                self.violations.append(f"two operations were told revision {outcome.revision}: {call} and {claim}")
            if not self.history.steps[number].lost:
                intent.answered = True

    def _step_of(self, intent: _Intent, call: Call, outcome: Outcome) -> int | None:
        """The step that an applied outcome tells of; the last, if a failover undid an earlier one."""
        found = None
        for number in self._steps_told(intent, call, outcome):
            step = self.history.steps[number]
            if step.before.revision < outcome.revision <= step.after.revision:
                found = number
        return found

    def _steps_told(self, intent: _Intent, call: Call, outcome: Outcome) -> Iterator[int]:
        """The steps that this call may have been told of."""
        assert call.returned is not None
        for number in self.by_key.get(call.key, ()):
            step = self.history.steps[number]
            sent = self.history.sent[_batch(step)]
            if step.time > call.returned or outcome.at != sent.at:
                continue
            if outcome.replayed:
                if intent.token is not None and any(token.token == intent.token for token in step.request.tokens):
                    yield number
            elif step.time >= call.called and sent.process == call.process:
                yield number

    # What a step did.

    def _explain(self, number: int, step: Step) -> list[State]:
        """The states that the step led through, from those who were told, and those who are in doubt."""
        chain = [step.before]
        claims = self.claims[number]
        first: Operation | None = None
        while chain[-1].revision < step.after.revision:
            claim = claims.get(chain[-1].revision + 1)
            if claim is not None:
                _, operation, outcome = claim
                if outcome.previous != chain[-1].value:
                    self.violations.append(f"told {outcome}, but the counter was {chain[-1]} then, in {step}")
                chain.append(plain.apply(chain[-1], operation))
                first = first or operation
                continue
            missing = next((r for r in sorted(claims) if r > chain[-1].revision), step.after.revision + 1)
            goal = claims[missing][2].previous if missing in claims else step.after.value
            told = [claim[0] for claim in claims.values()]
            search = _Search(self, step, missing - 1, goal, told)
            found = search.run(chain[-1])
            if found is None:
                verdict = "nobody in doubt explains" if search.steps_left > 0 else "undecided: too many may explain"
                self.violations.append(f"{verdict} {chain[-1]} to {goal} at {missing - 1} in {step}")
                return chain
            intents, states = found
            for intent in intents:
                intent.spent = intent.spent or not step.lost
            first = first or intents[0].operations[0]
            chain += states
        if chain[-1] != step.after:
            self.violations.append(f"the operations lead to {chain[-1]}, the step led to {step.after}: {step}")
        if first is not None:
            self._check_expiry(step, first)
        return chain

    def _check_expiry(self, step: Step, first: Operation) -> None:
        before_ms, after_ms = step.expires_ms
        if first.kind == "delete":
            expected: int | None = 0
        elif step.before.exists:
            expected = before_ms
        else:
            now_ms = int((EPOCH_SECONDS + step.time) * 1000)
            expected = None if first.ttl_ms is None else now_ms + first.ttl_ms
        if after_ms != expected:
            self.violations.append(f"expires at {after_ms}, not {expected}: {step}")

    # What a caller was told.

    def _check_call(self, intent: _Intent, call: Call) -> None:
        if call.due is not None and (call.returned is None or call.returned > call.due):
            self.violations.append(f"not answered by its deadline: {call}")
        if isinstance(call.result, list):
            for operation, outcome in zip(call.operations, call.result, strict=True):
                if outcome.replayed and call.token is None:
                    self.violations.append(f"replayed without a token: {call}")
                if not self._is_true(intent, call, operation, outcome):
                    self.violations.append(f"untrue: {outcome} for {operation} in {call}")
        elif isinstance(call.result, TokenReused):
            others = (
                i for i in self.intents.values() if (i.key, i.token) == (call.key, call.token) and i is not intent
            )
            if not any(others):
                self.violations.append(f"the token was not used for anything else: {call}")
        elif isinstance(call.result, AcknowledgedDataLost) and not self.history.failovers:
            self.violations.append(f"nothing was lost: {call}")

    def _is_true(self, intent: _Intent, call: Call, operation: Operation, outcome: Outcome) -> bool:
        """Whether the outcome holds in a step that the call may have been told of, or, rejected, in any state."""
        for number in self._steps_told(intent, call, outcome):
            for before in self.chains[number]:
                if before.revision + outcome.applied == outcome.revision and plain.is_true(outcome, operation, before):
                    return True
        if outcome.applied or outcome.replayed or call.token is not None:
            return False
        assert call.returned is not None
        return any(
            plain.is_true(outcome, operation, state)
            for state in self._states_between(call.key, call.called, call.returned)
        )

    def _check_same_answers(self, intent: _Intent) -> None:
        """Whoever asks with a token is told what the first was told."""
        if intent.token is None:
            return
        first: dict[datetime, list[Outcome]] = {}
        for call in intent.calls:
            if isinstance(call.result, list):
                outcomes = [msgspec.structs.replace(outcome, replayed=False) for outcome in call.result]
                if first.setdefault(outcomes[0].at, outcomes) != outcomes and not self.history.failovers:
                    self.violations.append(f"another answer than {first[outcomes[0].at]}: {call}")

    def _check_reads(self) -> None:
        for read in self.history.reads:
            if read.state not in list(self._states_between(read.key, read.called, read.returned)):
                self.violations.append(f"read what never was: {read}")

    def _states_between(self, key: str, start: float, end: float) -> Iterator[State]:
        """The states that a counter was in at some moment from `start` to `end`."""
        phases = [Phase(float("-inf"), ABSENT, None), *self.history.phases.get(key, ())]
        for number, phase in enumerate(phases):
            until = phases[number + 1].start if number + 1 < len(phases) else float("inf")
            if phase.start > end or until < start:
                continue
            if phase.expires is None:
                yield phase.state
                continue
            if phase.expires + _EDGE_SECONDS >= start:
                yield phase.state
            if phase.expires - _EDGE_SECONDS <= min(end, until):
                yield State(0, phase.state.revision, False)

    # What must hold of the steps.

    def _check_steps(self) -> None:
        """No batch twice, and no token twice within its retention, in what was not undone."""
        batches: set[tuple[str, str, int]] = set()
        tokens: dict[tuple[str, str], float] = {}
        for step in self.history.steps:
            if step.lost:
                continue
            request = step.request
            if request.applied:
                batch = _batch(step)
                if batch in batches:
                    self.violations.append(f"a batch was applied twice: {step}")
                batches.add(batch)
            for token in request.tokens:
                at = tokens.get((request.key, token.token))
                if at is not None and step.time - at < self.history.token_retention_seconds - _EDGE_SECONDS:
                    self.violations.append(f"a token was recorded twice: {step}")
                tokens[request.key, token.token] = step.time

    def _check_gaps(self) -> None:
        """A gap is reported if and only if something was lost that the writer remembers."""
        gaps = [told for told in self.history.told if isinstance(told.answer, Answer) and told.answer.status == "gap"]
        if gaps and not self.history.failovers:
            self.violations.append(f"a gap where nothing was lost: {gaps[0]}")
        lost = {_batch(step) for step in self.history.steps if step.lost}
        # Old packets may bring back what was lost, sessions too.
        lost -= {_batch(step) for step in self.history.steps if not step.lost}
        for told in self.history.told:
            subject = (told.request.key, told.request.writer)
            if (*subject, told.request.seq) not in lost or isinstance(told.answer, PlusoneError):
                continue
            if told.answer.status not in ("applied", "duplicate"):
                continue
            for step in self.history.steps:
                if (
                    not step.lost
                    and (step.request.key, step.request.writer) == subject
                    and step.request.seq > told.request.seq
                    and told.time < step.time < told.time + ACKED_REMEMBERED_SECONDS
                    and not any((g.request.key, g.request.writer) == subject and g.time <= step.time for g in gaps)
                ):
                    self.violations.append(f"went on after a loss without a word: {told}, then {step}")
                    return


_Explanation: TypeAlias = tuple[list[_Intent], list[State]]
"""The operations, and the states that they lead through."""


class _Search:
    """Looks for operations in doubt that explain a stretch of a step.

    They are mostly callers in a row: the search leaves out as few as possible, and only then changes their order.
    """

    def __init__(self, judge: _Judge, step: Step, revision: int, value: int, told: list[_Intent]) -> None:
        sent = judge.history.sent[_batch(step)]
        failovers = bool(judge.history.failovers)
        doubtful = (intent for intent in judge.intents.values() if intent.doubtful(step, sent, failovers))
        self.candidates = [intent for intent in doubtful if intent not in told]
        self.candidates.sort(key=lambda intent: max(c.called for c in intent.calls if c.called <= sent.time))
        self.step = step
        self.goal = (revision, value)
        self.certain: list[_Intent] = []
        self.steps_left = _SEARCH_STEPS_MAX

    def run(self, start: State) -> _Explanation | None:
        # Whose tokens are in the request was in the batch for certain, and is left out only if it was rejected, or if
        # it belongs to another stretch of the step.
        certain = [intent for intent in self.candidates if intent.token is not None]
        size = len(self.candidates)
        for left_out in (0, 1, 2, 3, 4, 6, size, -1):
            for self.certain in (certain, []) if certain else ([],):
                self.steps_left = _SEARCH_STEPS_MAX
                for first in range(size if left_out >= 0 else 1):
                    found = self._extend(start, first, left_out, [], [])
                    if found is not None:
                        return found
        return None

    def _extend(
        self, state: State, index: int, left_out: int, taken: list[_Intent], states: list[State]
    ) -> _Explanation | None:
        """Go on from `index`, leaving out at most `left_out` in between; in any order, if that is negative."""
        revision, value = self.goal
        if state.revision == revision:
            fits = state.value == value and all(intent in taken for intent in self.certain)
            return (taken, states) if fits else None
        for following in range(0 if left_out < 0 else index, len(self.candidates)):
            self.steps_left -= 1
            if self.steps_left < 0:
                return None
            intent = self.candidates[following]
            if intent in taken:
                continue
            reached = self._run_through(state, intent.operations)
            if reached and reached[-1].revision <= revision:
                more, so_far = [*taken, intent], [*states, *reached]
                found = self._extend(reached[-1], following + 1, left_out, more, so_far)
                if found is not None:
                    return found
                if left_out == 0:
                    return None
                left_out -= left_out > 0
        return None

    def _run_through(self, state: State, operations: tuple[Operation, ...]) -> list[State]:
        """The states that these operations lead through; empty if none of them is accepted."""
        states: list[State] = []
        if state.revision == self.step.before.revision:
            if self.step.request.restart != (operations[0].kind != "add"):
                return []
        elif operations[0].kind != "add":
            return []
        for operation in operations:
            if plain.rejection(state, operation) is None:
                state = plain.apply(state, operation)
                states.append(state)
        return states


def _batch(step: Step) -> tuple[str, str, int]:
    return step.request.key, step.request.writer, step.request.seq


def judge(history: History) -> list[str]:
    """What is wrong with it; empty when nothing is."""
    return _Judge(history).verdict()
