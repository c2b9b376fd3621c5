"""Comparing how a replay ended with what the run had come to.

Inside the history the engine has compared everything already. Here it is the end: a
body that ended has to end so again, one that waited has to ask for the same wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import NoReturn

import msgspec
from msgspec import UNSET

from operon.codec import Payloads
from operon.codec import Undecodable
from operon.codec import error_summary
from operon.engine.flow import Continued
from operon.engine.flow import Unrecorded
from operon.errors import DecodeError
from operon.errors import NonDeterminismError
from operon.registry import Declared
from operon.replay.bundle import Attempt
from operon.replay.bundle import Bundle
from operon.replay.bundle import Payload
from operon.replay.bundle import Pending
from operon.replay.bundle import Wait
from operon.replay.bundle import text_of
from operon.replay.playing import Played
from operon.replay.redaction import Redaction
from operon.replay.witness import Asked
from operon.status import RunStatus
from operon.store.finishes import Finish

_WIDEST = 200  # characters of a result in a message
_OPERATIONS = ("step", "activity")


@dataclass(frozen=True)
class _Outcome:
    """How a body ended."""

    status: RunStatus
    output: str | None
    """The returned value as JSON."""
    error: str | None
    """The raised error as JSON."""

    @property
    def words(self) -> str:
        """What messages call it."""
        told = self.status.value
        if self.error is not None:
            return f"{told} with {error_summary(self.error)}"
        if self.output in {None, "null"}:
            return told
        text = str(self.output)
        return f"{told} with {text if len(text) <= _WIDEST else text[:_WIDEST] + '…'}"


class Judge:
    """Compares what was *played* with what the run in *bundle* had come to."""

    def __init__(
        self, bundle: Bundle, played: Played, declared: Declared, payloads: Payloads
    ) -> None:
        self._bundle = bundle
        self._run = bundle.run
        self._played = played
        self._declared = declared
        self._payloads = payloads
        self._redaction = Redaction(bundle.redacted.names)

    def judge(self) -> None:
        """Return if the replay ended as the run had.

        Raises:
            NonDeterminismError: It ended otherwise.
            DecodeError: What the run had come to cannot be read here.
        """
        run = self._run
        if run.continued_as is not None:
            self._judge_successor(run.continued_as)
        elif run.status is RunStatus.WAITING:
            self._judge_wait(run.wait)
        elif self._was_ended_by_its_body():
            self._judge_outcome()
        self._judge_pending()

    def _judge_successor(self, successor: str) -> None:
        ending = self._played.ending
        recorded = f"continue_as run {successor!r}"
        if not isinstance(ending, Continued):
            self._differ(recorded, self._words_of_ending())
        elif ending.request.new.id != successor:
            self._differ(recorded, f"continue_as run {ending.request.new.id!r}")

    def _judge_outcome(self) -> None:
        recorded = self._recorded()
        if not isinstance(self._played.ending, Finish) or self._played.left_open:
            self._differ(f"the end of the body ({recorded.words})", self._beyond())
        today = self._today(self._played.ending)
        if not self._is_same(recorded, today):
            self._differ(
                f"the end of the body ({recorded.words})",
                f"the end of the body ({today.words})",
                source=self._place_of_body(),
            )

    def _judge_wait(self, wait: Wait | None) -> None:
        """Compare the wait of a run with what the body asked for at its position."""
        if wait is None or self._is_new_way(wait.position):
            return
        asked = self._played.asked.get(wait.position)
        if wait.kind == "retry":
            known = {(each.kind, each.name) for each in self._attempts(wait.position)}
            if asked is None and self._played.left_open:
                return  # the body had ended, or asked to go on, and waited for others
            same = asked is not None and (
                (asked.kind, asked.name) in known
                if known
                else asked.kind in _OPERATIONS
            )
        else:
            same = asked is not None and _is_wait(asked, wait)
        if not same:
            called = self._words_of_ending() if asked is None else asked.words
            source = "" if asked is None else asked.source
            self._differ(_words_of_wait(wait), called, source=source, at=wait.position)

    def _judge_pending(self) -> None:
        """Compare operations without an outcome, as far as something is known of them.

        Failed attempts tell kind and name, what was noted at the export all of it.
        Inside the history that is the engine's to compare, and the witness's.
        """
        recorded = {each.position for each in self._bundle.checkpoints}
        begun: list[Attempt | Pending] = [*self._bundle.attempts, *self._bundle.pending]
        for each in begun:
            if each.position in recorded or self._is_new_way(each.position):
                continue
            asked = self._played.asked.get(each.position)
            if asked is not None and (asked.kind, asked.name) == (each.kind, each.name):
                continue
            self._differ(
                f"{each.kind} {each.name!r}",
                self._words_of_ending() if asked is None else asked.words,
                source="" if asked is None else asked.source,
                at=each.position,
            )

    def _is_new_way(self, position: int) -> bool:
        """Tell whether a patch stands there or before, so that what follows is new."""
        recorded = {each.position for each in self._bundle.checkpoints}
        return any(
            asked.kind == "patch" and at not in recorded and at <= position
            for at, asked in self._played.asked.items()
        )

    def _attempts(self, position: int) -> Sequence[Attempt]:
        return [each for each in self._bundle.attempts if each.position == position]

    def _was_ended_by_its_body(self) -> bool:
        """Tell whether the run's body came to an end, rather than being stopped."""
        run = self._run
        told = any(each.kind == "cancel" for each in self._bundle.checkpoints)
        if run.status is RunStatus.CANCELLED:
            return told  # else by force, or before it began
        if run.status is RunStatus.FAILED and run.started_at is None:
            return told  # else its deadline passed before it began
        return run.status in {RunStatus.SUCCEEDED, RunStatus.FAILED}

    def _recorded(self) -> _Outcome:
        """Return how the body had ended."""
        run = self._run
        output, error, codec = run.output, run.error, run.outcome_codec
        if run.status is RunStatus.SUCCEEDED and output is UNSET:
            only = self._bundle.checkpoints[0]  # a transaction's output is kept there
            output, codec = only.output, only.codec
        return _Outcome(
            run.status, self._unwrapped(output, codec), self._unwrapped(error, codec)
        )

    def _today(self, how: Finish) -> _Outcome:
        """Return how the body ended now, without what was redacted in the bundle."""
        output, error = how.output, how.error
        if output is not None:
            output = self._redaction.text(self._payloads.unwrap(output, how.codec))
        if error is not None:
            error = self._redaction.error(self._payloads.unwrap(error, how.codec))
        return _Outcome(how.status, output, error)

    def _unwrapped(self, payload: Payload, codec: str | None) -> str | None:
        text = text_of(payload, codec)
        if text is None:
            return None
        try:
            return self._payloads.unwrap(text, codec)
        except Undecodable as error:
            subject = f"the outcome of run {self._run.id!r}"
            raise DecodeError(subject, error.reason) from error

    def _is_same(self, recorded: _Outcome, today: _Outcome) -> bool:
        if recorded.status is not today.status:
            return False
        if recorded.error is not None or today.error is not None:
            return _face(recorded.error) == _face(today.error)
        return self._is_equal(recorded.output, today.output)

    def _is_equal(self, recorded: str | None, today: str | None) -> bool:
        """Tell whether two results are equal: as JSON, or as values (of sets, say)."""
        if recorded is None or today is None:
            return recorded in {None, "null"} and today in {None, "null"}
        if msgspec.json.decode(recorded) == msgspec.json.decode(today):
            return True
        codec = self._declared.result
        try:
            return bool(codec.decode(recorded) == codec.decode(today))
        except Undecodable:
            return False

    def _beyond(self) -> str:
        """Return what the body asked for after its recorded end."""
        if self._played.left_open and isinstance(self._played.ending, Finish):
            return self._played.left_open[0].words
        return self._words_of_ending()

    def _words_of_ending(self) -> str:
        ending = self._played.ending
        if isinstance(ending, Unrecorded):
            return f"{ending.kind} {ending.name!r}"
        if isinstance(ending, Continued):
            return f"continue_as run {ending.request.new.id!r}"
        return f"the end of the body ({self._today(ending).words})"

    def _differ(
        self, recorded: str, called: str, *, source: str = "", at: int | None = None
    ) -> NoReturn:
        """Say that the body ended otherwise, *at* a position or the last it asked at.

        Raises:
            NonDeterminismError: Always.
        """
        last = max(self._played.asked, default=0)
        if isinstance(self._played.ending, Unrecorded) and not source:
            source = self._played.asked[self._played.ending.position].source
        raise NonDeterminismError(
            self._run.id,
            self._run.workflow,
            max(1, last if at is None else at),
            recorded=recorded,
            called=called,
            source=source or self._place_of_body(),
        )

    def _place_of_body(self) -> str:
        """Return where the workflow is declared."""
        return f"{self._declared.module}.{self._declared.qualname}"


def _is_wait(asked: Asked, wait: Wait) -> bool:
    """Tell whether *asked* is what *wait* waits for."""
    if asked.kind != wait.kind:
        return False
    if wait.kind == "result":  # the run it waits for may have gone on as another
        on = str(wait.on)
        chain = asked.name.partition("~")[0]
        return on == asked.name or on.startswith(f"{chain}~")
    return wait.key in {None, asked.name}


def _words_of_wait(wait: Wait) -> str:
    if wait.kind == "retry":
        return "the next attempt of a step or an activity"
    return f"{wait.kind} {wait.key or wait.on or wait.kind!r}"


def _face(error: str | None) -> tuple[Any, Any] | None:
    """Return what of a stored *error* is compared: its class and its message."""
    if error is None:
        return None
    members = msgspec.json.decode(error, type=dict[str, Any])
    return members.get("type"), members.get("message")
