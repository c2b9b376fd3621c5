"""The results as a table for the terminal, and as JSON."""

import json
import os
import platform
from collections.abc import Mapping
from collections.abc import Sequence
from datetime import UTC
from datetime import datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from tests.benchmarks.results import Result

COLOURS = {"reached": "green", "missed": "bold red", "failed": "bold red"}
NOT_JUDGED = "not judged: too little was measured"


def table(results: Sequence[Result]) -> Table:
    """Return the one table."""
    made = Table(box=box.SIMPLE_HEAD, caption=_caption(results))
    for name in ("what", "A", "B", "wanted", "measured", ""):
        made.add_column(name, overflow="fold")
    for each in results:
        row, verdict = each.row, each.verdict
        measured = str(each.spread) if each.spread else _last_line(each.error)
        made.add_row(
            row.name,
            row.a,
            row.b,
            str(row.wanted or "-"),
            f"{measured} {row.unit}" if each.spread else measured,
            Text(verdict, style=COLOURS.get(verdict, "")),
        )
    return made


def describe(versions: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return on what and with what the results were measured."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processors": os.cpu_count(),
        "system": platform.platform(),
        "versions": versions,
    }


def write_json(path: Path, results: Sequence[Result], about: Mapping[str, Any]) -> None:
    """Write everything that was measured, each single value included."""
    content = {"about": about, "results": [each.as_json() for each in results]}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _caption(results: Sequence[Result]) -> str:
    notes = r"measured: the median of the rounds \[and its quartiles]"
    judged = all(each.judged for each in results)
    return notes if judged else f"{notes}; {NOT_JUDGED}"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
