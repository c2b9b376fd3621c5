"""`operon queues list|pause|resume|limit`: what is claimed, and how much at once."""

from typing import Any

import click

from operon.app import Operon
from operon.cli import target
from operon.cli.output import echo_json
from operon.cli.output import echo_table
from operon.cli.output import json_option
from operon.cli.output import visible
from operon.cli.params import Limit
from operon.cli.params import RateLimit
from operon.cli.params import rate_words
from operon.cli.views import Fact
from operon.cli.wording import count
from operon.store import doctor as store
from operon.store.doctor import Load

_LIMITS = ("concurrency", "per_executor", "rate")


@click.group()
def queues() -> None:
    """Look at queues, pause them, and change their limits."""


@queues.command("list")
@json_option
@target.database_options
def list_command(*, as_json: bool) -> None:
    """List queues with their limits, and how many runs have not ended."""
    with target.database() as operon:
        loads = _loads(operon)
    if as_json:
        echo_json([_fact(each) for each in loads])
        return
    echo_table(
        [
            *("name", "concurrency", "per executor", "rate", "partitioned"),
            *("paused since", "enqueued", "running", "waiting"),
        ],
        [_row(each) for each in loads],
    )


@queues.command()
@click.argument("name")
@json_option
@target.database_options
def pause(*, name: str, as_json: bool) -> None:
    """Let nothing be claimed from a queue; it still accepts runs."""
    with target.database() as operon:
        operon.pause_queue(name)
        load = _load(operon, name)
    _answer(load, f"is paused, with {count(load.enqueued, 'run')} in it", as_json)


@queues.command()
@click.argument("name")
@json_option
@target.database_options
def resume(*, name: str, as_json: bool) -> None:
    """Let runs be claimed from a queue again."""
    with target.database() as operon:
        operon.resume_queue(name)
        load = _load(operon, name)
    _answer(load, f"goes on, with {count(load.enqueued, 'run')} in it", as_json)


@queues.command()
@click.argument("name")
@click.option(
    "--concurrency",
    type=Limit(),
    metavar="N|none",
    help="How many of its runs execute at once.",
)
@click.option(
    "--per-executor",
    type=Limit(),
    metavar="N|none",
    help="How many of them on one executor at once.",
)
@click.option(
    "--rate",
    type=RateLimit(),
    metavar="N/SECONDS|none",
    help="How many begin in so many seconds.",
)
@json_option
@target.database_options
def limit(*, name: str, as_json: bool, **limits: Any) -> None:
    """Change the limits of a queue; those that are not given stay.

    They hold for the next claim, in every process; what is running goes on.
    """
    ctx = click.get_current_context()
    changes = {each: limits[each] for each in _LIMITS if _is_given(ctx, each)}
    if not changes:
        message = "give --concurrency, --per-executor or --rate: a limit, or none"
        raise click.UsageError(message, ctx)
    with target.database() as operon:
        operon.limit_queue(name, **changes)
        load = _load(operon, name)
    _answer(load, _limits(load), as_json)


def _is_given(ctx: click.Context, name: str) -> bool:
    """Tell whether an option stands on the command line: `none` is a value, too."""
    return ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT


def _loads(operon: Operon) -> list[Load]:
    with operon.results().database.reading() as connection:
        return store.loads(connection)


def _load(operon: Operon, name: str) -> Load:
    return next(each for each in _loads(operon) if each.queue.name == name)


def _answer(load: Load, sentence: str, as_json: bool) -> None:  # noqa: FBT001 - only called here
    if as_json:
        echo_json(_fact(load))
    else:
        click.echo(f"queue {visible(load.queue.name)!r} {sentence}")


def _fact(load: Load) -> Fact:
    """Return what is known of a queue; the keys are the same in every release."""
    queue, rate = load.queue, load.queue.rate
    return {
        "name": queue.name,
        "concurrency": queue.concurrency,
        "per_executor": queue.per_executor,
        "rate_limit": None if rate is None else rate.limit,
        "rate_period": None if rate is None else rate.period,
        "partitioned": queue.partitioned,
        "paused_at": load.paused_at,
        "enqueued": load.enqueued,
        "running": load.running,
        "waiting": load.waiting,
    }


def _row(load: Load) -> list[object]:
    queue = load.queue
    return [
        *(queue.name, queue.concurrency, queue.per_executor, rate_words(queue.rate)),
        *("yes" if queue.partitioned else None, load.paused_at),
        *(load.enqueued, load.running, load.waiting),
    ]


def _limits(load: Load) -> str:
    """Return the limits of a queue as the end of a sentence."""
    queue = load.queue
    told = {
        "concurrency": queue.concurrency,
        "per executor": queue.per_executor,
        "rate": rate_words(queue.rate),
    }
    limits = [f"{name} {value}" for name, value in told.items() if value is not None]
    where = " in each partition" if queue.partitioned else ""
    if not limits:
        return "has no limits"
    return f"is limited{where}: {', '.join(limits)}"
