"""The bar of a long command is for people at a terminal."""

import io
import sys

from operon.cli.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_is_shown_how_far_it_has_come(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())

    with progress("purge", 4) as tell:
        tell(1)
        tell(3)

    assert "purge" in terminal.getvalue()
    assert "100%" in terminal.getvalue()


def test_a_bar_is_not_written_where_nobody_looks(monkeypatch):
    monkeypatch.setattr(sys, "stderr", file := io.StringIO())

    with progress("purge", 4) as tell:
        tell(4)

    assert file.getvalue() == ""
