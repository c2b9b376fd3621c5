"""`operon doctor`: is everything fit for what Operon promises?"""

from dataclasses import asdict

import click

from operon.cli import target
from operon.cli.diagnosis import Finding
from operon.cli.diagnosis import Level
from operon.cli.examination import examine
from operon.cli.output import echo_json
from operon.cli.output import json_option
from operon.cli.output import visible

_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}


@click.command()
@json_option
@target.database_options
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Check the database, the application and the executors.

    A problem breaks a promise, or keeps Operon from working: exit code 1. A warning
    does not, yet.
    """
    findings: list[Finding] = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            _echo(finding)
    healthy = all(each.level is not Level.PROBLEM for each in findings)
    if as_json:
        checks = [asdict(each) for each in findings]
        echo_json({"healthy": healthy, "checks": checks})
    if not healthy:
        ctx.exit(1)


def _echo(finding: Finding) -> None:
    level = click.style(finding.level.value.ljust(7), fg=_COLOURS[finding.level])
    cure = "" if finding.cure is None else f"; {finding.cure}"
    click.echo(f"{level}  {finding.check}: {visible(finding.fact + cure)}")
