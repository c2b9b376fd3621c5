# pyright: basic, reportMissingTypeStubs=false
# pygal has no types.
"""The results as a chart: an SVG of how far each wanted figure is reached."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pygal  # type: ignore[import-untyped] # as told above

from tests.benchmarks.results import Result

COLOURS = {"reached": "#2a7", "missed": "#c33", "": "#888"}
TITLE = "Measured against wanted: 1 is exactly the wanted figure, more is better"
MOST = 100.0
"""Of a bar, in wanted figures; a bar that knows no bound would hide the others."""


def write_chart(path: Path, results: Sequence[Result]) -> None:
    """Write an SVG with a bar for each figure that is wanted and was measured."""
    shown = [each for each in reversed(results) if each.share is not None]
    chart = pygal.HorizontalBar(
        title=TITLE,
        x_labels=[each.row.name for each in shown],
        width=1100,
        height=160 + 32 * len(shown),
        js=[],  # it would be loaded from elsewhere
        legend_at_bottom=True,
        truncate_label=-1,
        include_x_axis=True,
    )
    for verdict, colour in COLOURS.items():
        bars = [
            _bar(each, colour) if each.verdict == verdict else None for each in shown
        ]
        if any(bars):
            chart.add(verdict or "not judged", bars)
    path.write_bytes(chart.render())


def _bar(result: Result, colour: str) -> dict[str, Any]:
    low, high = (min(each, MOST) for each in result.share_limits)
    return {
        "value": min(result.share or 0.0, MOST),
        "ci": {"low": low, "high": high},
        "color": colour,
        "label": f"{result.spread} {result.row.unit}, wanted {result.row.wanted}",
    }
