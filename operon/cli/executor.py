"""`operon executor`: a process that works on runs until it is told to stop."""

import os
import signal
from queue import SimpleQueue
from types import FrameType

import click

from operon import registry
from operon.app import Operon
from operon.cli import target
from operon.telemetry import configure

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@click.command()
@target.app_option
def executor() -> None:
    """Serve queues, and take over what other executors left, until told to stop.

    SIGTERM or Ctrl+C stops claiming, lets operations under way end and gives every
    run back; a second one ends the process at once. Nothing is lost either way.
    How many runs at once and which queues is said by Operon(threads=, queues=), or
    by OPERON_THREADS and OPERON_QUEUES. Spans, metrics and logs are exported if
    OTEL_EXPORTER_OTLP_ENDPOINT says where.
    """
    with target.application() as operon:
        configure()
        told = _told_to_stop()
        try:
            operon.launch()
            _announce(operon)
            told.get()
            click.echo("stopping; a second signal ends this process at once")
        finally:
            operon.shutdown()
    click.echo("stopped")


def _told_to_stop() -> "SimpleQueue[int]":
    """Return what will get the first signal; the second one has its default effect.

    A handler may interrupt this thread anywhere, so it must take no lock that this
    thread may hold: an Event would, a SimpleQueue does not.

    Source:
        Python, "queue": SimpleQueue.put is reentrant.
    """
    told: SimpleQueue[int] = SimpleQueue()

    def tell(number: int, frame: FrameType | None) -> None:
        del frame
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        told.put(number)

    for each in _SIGNALS:
        signal.signal(each, tell)
    return told


def _announce(operon: Operon) -> None:
    where = operon.engine.url.render_as_string()
    known = [f"{name} {version}" for name, version in registry.known()]
    click.echo(f"executor of process {os.getpid()} on {where}")
    click.echo(f"queues: {', '.join(operon.queues)}")
    click.echo(f"workflows: {', '.join(known) or 'none'}")
    if not known:
        click.echo(
            "Warning: the application declares no workflow; import the modules that "
            "do where it is defined",
            err=True,
        )
