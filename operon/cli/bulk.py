"""`operon runs cancel|resume|retry`: telling one run, or many, what to do.

They only write rows; launched executors do the rest.
"""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import TypeVar

import click
from sqlalchemy.orm import Session

from operon.api.operating import Bulk
from operon.app import Operon
from operon.cli import filters
from operon.cli import target
from operon.cli import views
from operon.cli.filters import Conditions
from operon.cli.output import echo_json
from operon.cli.output import json_option
from operon.cli.output import visible
from operon.cli.output import yes_option
from operon.cli.progress import progress
from operon.cli.wording import count
from operon.errors import RunError
from operon.status import LIVE
from operon.status import RunStatus
from operon.store import doctor as store
from operon.store.runs import Filter

F = TypeVar("F", bound=Callable[..., Any])
Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be done to the runs that are meant."""

    verb: str
    """What it is called, such as `cancel`."""
    done: str
    """What became of the runs to which it was done."""
    one: Callable[[Operon, str], None]
    """Does it to one run."""
    many: Callable[[Operon, Conditions, Progress], Bulk]
    """Does it to all runs that match."""


@dataclass(frozen=True, kw_only=True)
class Meant:
    """Which runs are meant: those with these ids, or those that match."""

    ids: Sequence[str]
    conditions: Conditions
    yes: bool
    """Whether nobody needs to be asked."""


def _which(command: F) -> F:
    """Let *command* be told which runs are meant."""
    for option in (
        target.database_options,
        json_option,
        yes_option,
        click.option(
            "--all", "everything", is_flag=True, help="All runs it can be done to."
        ),
        filters.filter_options,
        click.argument("run_ids", metavar="[ID]...", nargs=-1),
    ):
        command = option(command)
    return command


@click.command()
@click.option("--force", is_flag=True, help="End them at once, without compensation.")
@click.option(
    "--keep-children", is_flag=True, help="Leave alone the runs that they started."
)
@filters.status_option(LIVE)
@_which
def cancel(*, force: bool, keep_children: bool, as_json: bool, **which: Any) -> None:
    """Ask runs to end; their bodies may compensate.

    Either the runs with these IDs, or those that match every option; --all are the
    live ones.
    """
    meant = _meant(which, otherwise=LIVE)
    if keep_children and not meant.ids:
        message = "--keep-children goes with IDs, not with a filter"
        raise click.UsageError(message, click.get_current_context())

    def one(operon: Operon, run_id: str) -> None:
        operon.cancel(run_id, force=force, children=not keep_children)

    def many(operon: Operon, conditions: Conditions, tell: Progress) -> Bulk:
        return operon.cancel_runs(force=force, progress=tell, **conditions)

    done = "cancelled by force" if force else "asked to end"
    _grant(Wish(verb="cancel", done=done, one=one, many=many), meant, as_json=as_json)


@click.command()
@filters.status_option((RunStatus.DEAD, RunStatus.CANCELLED))
@_which
def resume(*, as_json: bool, **which: Any) -> None:
    """Continue runs that are dead or were cancelled by force.

    Either the runs with these IDs, or those that match every option; --all are the
    dead ones, which are also meant if no --status is given.
    """

    def one(operon: Operon, run_id: str) -> None:
        operon.resume(run_id)

    def many(operon: Operon, conditions: Conditions, tell: Progress) -> Bulk:
        return operon.resume_runs(progress=tell, **conditions)

    meant = _meant(which, otherwise=[RunStatus.DEAD])
    wish = Wish(verb="resume", done="resumed", one=one, many=many)
    _grant(wish, meant, as_json=as_json)


@click.command()
@_which
def retry(*, as_json: bool, **which: Any) -> None:
    """Redo the operations that made runs fail.

    Either the runs with these IDs, or those that match every option; --all are the
    failed ones.
    """

    def one(operon: Operon, run_id: str) -> None:
        operon.retry(run_id)

    def many(operon: Operon, conditions: Conditions, tell: Progress) -> Bulk:
        del conditions["status"]  # it is always `failed`
        return operon.retry_runs(progress=tell, **conditions)

    meant = _meant(which, otherwise=[RunStatus.FAILED])
    wish = Wish(verb="retry", done="put back to be retried", one=one, many=many)
    _grant(wish, meant, as_json=as_json)


def _meant(which: dict[str, Any], *, otherwise: Sequence[RunStatus]) -> Meant:
    """Return which runs are meant; if no status is given, those of *otherwise*.

    Raises:
        UsageError: It is not said in exactly one way.
    """
    ids = list(dict.fromkeys(which.pop("run_ids")))
    everything, yes = which.pop("everything"), which.pop("yes")
    ways = [bool(ids), everything, filters.is_given(which)]
    if sum(ways) != 1:
        message = "name the runs in one way: by IDs, by filter options, or by --all"
        raise click.UsageError(message, click.get_current_context())
    conditions = {**which, "status": which.get("status") or otherwise}
    return Meant(ids=ids, conditions=conditions, yes=yes)


def _grant(wish: Wish, meant: Meant, *, as_json: bool) -> None:
    """Do what is wished, and answer what came of it."""
    with target.database() as operon:
        if len(meant.ids) == 1:
            wish.one(operon, meant.ids[0])
            _answer(operon, meant.ids[0], as_json=as_json)
            return
        come_to = (
            _each(operon, wish, meant.ids)
            if meant.ids
            else _matching(operon, wish, meant)
        )
    if as_json:
        echo_json({"done": come_to.done, "refused": come_to.refused})
    else:
        _echo(wish, come_to)
    if come_to.refused:
        click.get_current_context().exit(1)


def _each(operon: Operon, wish: Wish, ids: Sequence[str]) -> Bulk:
    """Do it to the runs with these *ids*, each for itself."""
    come_to = Bulk()
    with progress(wish.verb, len(ids)) as tell:
        for run_id in ids:
            try:
                wish.one(operon, run_id)
            except RunError as refusal:
                come_to.refused[run_id] = str(refusal)
            else:
                come_to.done.append(run_id)
            tell(1)
    return come_to


def _matching(operon: Operon, wish: Wish, meant: Meant) -> Bulk:
    """Do it to the runs that match, once somebody has agreed."""
    conditions = dict(meant.conditions)
    wanted = Filter(statuses=tuple(conditions["status"]), **_without_status(conditions))
    database = operon.results().database
    with database.reading() as connection, Session(connection) as session:
        total = store.matching(session, wanted)
    if total == 0:
        return Bulk()
    if not meant.yes:
        question = f"{wish.verb.capitalize()} {count(total, 'run')}?"
        click.confirm(question, abort=True, err=True)
    with progress(wish.verb, total) as tell:
        return wish.many(operon, conditions, tell)


def _without_status(conditions: Conditions) -> Conditions:
    return {name: each for name, each in conditions.items() if name != "status"}


def _echo(wish: Wish, come_to: Bulk) -> None:
    if not come_to.done and not come_to.refused:
        click.echo("no run matches")
        return
    click.echo(f"{count(len(come_to.done), 'run')} {wish.done}")
    if come_to.refused:
        click.echo(f"{count(len(come_to.refused), 'run')} refused:")
    for reason in come_to.refused.values():
        click.echo(f"  {visible(reason)}")


def _answer(operon: Operon, run_id: str, *, as_json: bool) -> None:
    """Say where the run stands now."""
    facts = views.explained(operon, run_id)
    if as_json:
        echo_json(facts)
    else:
        click.echo(facts["explanation"])
