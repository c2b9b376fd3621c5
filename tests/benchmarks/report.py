"""The results as a table for the terminal, as JSON and as a chart."""

import json
import os
import platform
from collections.abc import Mapping
from collections.abc import Sequence
from datetime import UTC
from datetime import datetime
from pathlib import Path
from typing import Any

import pygal
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


def write_chart(path: Path, results: Sequence[Result]) -> None:
    """Write an SVG of how far each wanted figure is reached, or missed."""
    shown = [each for each in reversed(results) if each.share is not None]
    chart = pygal.HorizontalBar(
        title="Measured against wanted: 1 is exactly the wanted figure, more is better",
        x_labels=[each.row.name for each in shown],
        height=120 + 32 * len(shown),
        width=1100,
        js=[],  # it would be loaded from elsewhere
        legend_at_bottom=True,
        truncate_label=-1,
        include_x_axis=True,
    )
    for verdict, colour in (("reached", "#2a7"), ("missed", "#c33"), ("", "#888")):
        bars = [
            _bar(each, colour) if each.verdict == verdict else None for each in shown
        ]
        if any(bars):
            chart.add(verdict or "not judged", bars)
    path.write_bytes(chart.render())


def _bar(result: Result, colour: str) -> dict[str, Any]:
    low, high = result.share_limits
    return {
        "value": min(result.share or 0.0, 100.0),
        "ci": {"low": min(low, 100.0), "high": min(high, 100.0)},
        "color": colour,
        "label": f"{result.spread} {result.row.unit}, wanted {result.row.wanted}",
    }


def _caption(results: Sequence[Result]) -> str:
    notes = r"measured: the median of the rounds \[and its quartiles]"
    judged = all(each.judged for each in results)
    return notes if judged else f"{notes}; {NOT_JUDGED}"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
