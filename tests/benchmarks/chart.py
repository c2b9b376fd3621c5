"""The results as a chart: an SVG of how far each wanted figure is reached.

It is drawn by hand: the one light library for it patches Python's import system,
and the others bring a hundred megabytes for some rectangles.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.benchmarks.results import Result

COLOURS = {"reached": "#2a7", "missed": "#c33", "": "#999"}
TITLE = "Measured against wanted: 1 is exactly the wanted figure, more is better"
MOST = 3.0  # wanted figures of the longest bar; without a bound it would hide the rest
LABELS, BARS, VALUES = 460, 420, 320  # pixels from left to right
TOP, LINE, BAR = 60, 26, 14  # pixels from top to bottom


def write_chart(path: Path, results: Sequence[Result]) -> None:
    """Write an SVG with a bar for each figure that is wanted and was measured."""
    shown = [each for each in results if each.share is not None]
    size = {"width": LABELS + BARS + VALUES, "height": TOP + LINE * (len(shown) + 1)}
    box = f"0 0 {size['width']} {size['height']}"
    style = {"font-family": "sans-serif", "font-size": "13"}
    chart = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "viewBox": box})
    chart.attrib.update(style)
    _add(chart, "rect", width="100%", height="100%", fill="white")
    _add(chart, "text", TITLE, x=LABELS, y=20)
    for mark in range(int(MOST) + 1):
        colour = "#000" if mark == 1 else "#ccc"
        end = TOP + LINE * len(shown)
        _line(chart, (mark, mark), (TOP - 12, end), colour)
        _add(chart, "text", str(mark), x=_x(mark) - 4, y=TOP - 16)
    for number, each in enumerate(shown):
        _draw(chart, each, TOP + LINE * number)
    ET.ElementTree(chart).write(path, encoding="unicode", xml_declaration=True)


def _draw(chart: ET.Element, result: Result, top: int) -> None:
    """Draw one result: its name, its bar with the spread, and the numbers."""
    low, high = result.share_limits
    width = _x(result.share or 0.0) - LABELS
    colour = COLOURS[result.verdict]
    middle, base = top + BAR // 2, top + BAR - 2
    end = {"text-anchor": "end"}
    _add(chart, "text", result.row.name, x=LABELS - 8, y=base, **end)
    _add(chart, "rect", x=LABELS, y=top, width=width, height=BAR, fill=colour)
    _line(chart, (low, high), (middle, middle), "#000")
    for each in (low, high):
        _line(chart, (each, each), (middle - 4, middle + 4), "#000")
    numbers = f"{result.spread} {result.row.unit} (wanted {result.row.wanted})"
    _add(chart, "text", numbers, x=LABELS + BARS + 12, y=base)


def _x(share: float) -> float:
    return LABELS + BARS * min(share, MOST) / MOST


def _line(
    chart: ET.Element,
    shares: tuple[float, float],
    heights: tuple[int, int],
    colour: str,
) -> None:
    start, end = (_x(each) for each in shares)
    _add(chart, "line", x1=start, y1=heights[0], x2=end, y2=heights[1], stroke=colour)


def _add(chart: ET.Element, tag: str, text: str = "", **attributes: object) -> None:
    made = ET.SubElement(chart, tag, {k: str(v) for k, v in attributes.items()})
    made.text = text or None
