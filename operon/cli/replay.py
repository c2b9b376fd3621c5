"""`operon replay`: exported histories against today's code.

Exit code 0: the code does what they say; 1: it does not; 2: it was not asked rightly.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from operon.cli import target
from operon.cli.output import echo_json
from operon.cli.output import json_option
from operon.cli.output import visible
from operon.cli.wording import count
from operon.config import Settings
from operon.errors import ConfigurationError
from operon.errors import DecodeError
from operon.errors import NonDeterminismError
from operon.errors import OperonError
from operon.replay import Bundle
from operon.replay import Replayed
from operon.replay import declared_of
from operon.replay import load
from operon.replay import replay as replay_bundle

Fact = dict[str, Any]

_CURE = (
    "restore what the code asked for, or keep this workflow for its runs and declare "
    'the change as a new version (version=2), or put it behind self.patched("name")'
)


@click.command()
@click.argument(
    "bundles",
    metavar="BUNDLE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
)
@json_option
@target.app_option
@click.pass_context
def replay(ctx: click.Context, *, bundles: Sequence[Path], as_json: bool) -> None:
    """Replay exported runs by today's code; nothing is executed.

    A bundle is written by `operon runs export`. No database is opened. Exit code 1
    says that the code does not do what a history says.
    """
    loaded = [(path, _loaded(path)) for path in bundles]
    with target.application() as operon:
        for _, bundle in loaded:
            _refuse_undeclared(bundle)
        facts = [_fact(path, bundle, operon.settings) for path, bundle in loaded]
    if as_json:
        echo_json(facts)
    else:
        for fact in facts:
            _echo(fact)
    if not all(fact["same"] for fact in facts):
        ctx.exit(1)


def _loaded(path: Path) -> Bundle:
    """Return the bundle in the file *path*.

    Raises:
        UsageError: It cannot be read, or is none.
    """
    try:
        return load(path)
    except OSError as error:
        problem = f"the file {str(path)!r} cannot be read: {error.strerror}"
        raise click.UsageError(problem) from error
    except DecodeError as error:
        problem = f"{error.subject}: {visible(error.reason)}"
        raise click.UsageError(problem) from error


def _refuse_undeclared(bundle: Bundle) -> None:
    try:
        declared_of(bundle)
    except ConfigurationError as error:
        raise click.UsageError(visible(str(error))) from error


def _fact(path: Path, bundle: Bundle, settings: Settings) -> Fact:
    """Return what came of the replay of *bundle*, with the same keys for each."""
    run = bundle.run
    fact: Fact = {
        "bundle": str(path),
        "run_id": run.id,
        "workflow": run.workflow,
        "version": run.version,
        "same": True,
        "operations": len(bundle.checkpoints),
        "arguments": bundle.noted.done,
        "redacted": bundle.redacted.fields,
        **dict.fromkeys((
            "ending",
            "position",
            "recorded",
            "called",
            "source",
            "error",
        )),
    }
    try:
        return fact | _told(replay_bundle(bundle, settings))
    except NonDeterminismError as error:
        names = ("position", "recorded", "called", "source")
        told = {name: getattr(error, name) for name in names}
        return fact | {"same": False, "error": str(error), **told}
    except OperonError as error:
        return fact | {"same": False, "error": str(error)}


def _told(replayed: Replayed) -> Fact:
    members = asdict(replayed)
    return {name: members[name] for name in ("operations", "ending", "arguments")}


def _echo(fact: Fact) -> None:
    name = f"{fact['run_id']} ({fact['workflow']} {fact['version']})"
    if fact["same"]:
        compared = "" if fact["arguments"] else "; arguments are not in the bundle"
        operations = count(fact["operations"], "operation")
        click.echo(visible(f"{name}: same, {operations}, {fact['ending']}{compared}"))
        return
    if fact["position"] is None:
        click.echo(visible(f"{name}: {' '.join(fact['error'].split())}"))
    else:
        click.echo(visible(f"{name}: not the same at position {fact['position']}"))
        for word in ("recorded", "called", "source"):
            click.echo(visible(f"  {word.ljust(8)}  {fact[word]}"))
        click.echo(f"  cure      {_CURE}")
    if fact["redacted"]:
        fields = ", ".join(fact["redacted"])
        click.echo(visible(f"  perhaps because these fields are redacted: {fields}"))
