"""`operon lint`: would every body do the same when it is replayed?"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from operon.cli.output import echo_json
from operon.cli.output import json_option
from operon.cli.output import visible
from operon.errors import DeclarationError
from operon.lint import Finding
from operon.lint import lint_source
from operon.lint.files import python_files
from operon.lint.files import text_of

_UNREADABLE = 2  # exit code: as for a path that does not exist


@click.command()
@click.argument(
    "paths",
    metavar="PATH…",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
)
@json_option
@click.pass_context
def lint(ctx: click.Context, paths: tuple[Path, ...], *, as_json: bool) -> None:
    """Find what workflow bodies may not do: clocks, chance, sessions, files, threads.

    PATH is a file or a folder; hidden folders and virtual environments are left out.
    Nothing is imported or executed. A finding is exit code 1; a file that is not
    Python is exit code 2, and the others are examined all the same. So is a folder
    without Python files.
    """
    files = sorted({file for path in paths for file in _in(path)})
    findings: list[Finding] = []
    unreadable: list[str] = []
    for file in files:
        try:
            findings += lint_source(text_of(file), str(file))
        except DeclarationError as error:
            unreadable.append(str(error))
    if as_json:
        _echo_json(findings, unreadable, len(files))
    else:
        _echo(findings, unreadable, len(files))
    ctx.exit(_UNREADABLE if unreadable else int(bool(findings)))


def _in(path: Path) -> Iterator[Path]:
    """Yield the Python files of *path*.

    Raises:
        UsageError: There is none, so nothing would be examined.
    """
    found = list(python_files(path))
    if not found:
        raise click.UsageError(f"there is no Python file in {str(path)!r}")
    yield from found


def _echo_json(findings: list[Finding], unreadable: list[str], files: int) -> None:
    echo_json({
        "files": files,
        "findings": [asdict(each) for each in findings],
        "unreadable": unreadable,
    })


def _echo(findings: list[Finding], unreadable: list[str], files: int) -> None:
    for each in findings:
        click.echo(visible(str(each)))
    for message in unreadable:
        click.echo(f"Error: {visible(message)}", err=True)
    click.echo(f"{_counted(len(findings), 'finding')} in {_counted(files, 'file')}.")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
