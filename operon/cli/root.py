"""The group of all commands, and what becomes of their errors.

Every error of Operon ends here as one line on standard error and exit code 1.
Whatever click refuses in the arguments ends with exit code 2.
"""

from typing import Any

import click

from operon.cli.doctor import doctor
from operon.cli.executor import executor
from operon.cli.executors import executors
from operon.cli.lint import lint
from operon.cli.migrate import migrate
from operon.cli.openapi import openapi
from operon.cli.queues import queues
from operon.cli.replay import replay
from operon.cli.runs import runs
from operon.cli.schedules import schedules
from operon.cli.target import app_option
from operon.cli.token import token
from operon.errors import OperonError


class _Commands(click.Group):
    """A group that tells Operon's errors without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Invoke the command."""
        try:
            return super().invoke(ctx)
        except OperonError as error:
            message = " ".join(str(error).splitlines())
            raise click.ClickException(message) from error


@click.group(cls=_Commands)
@app_option
def operon() -> None:
    """Durable workflows on your own database."""


for _command in (
    migrate,
    executor,
    executors,
    runs,
    replay,
    queues,
    schedules,
    openapi,
    token,
    doctor,
    lint,
):
    operon.add_command(_command)


def main() -> None:
    """Run the command that the arguments of this process name, then exit."""
    operon(prog_name="operon")
