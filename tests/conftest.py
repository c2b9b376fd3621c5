"""The fixtures of the whole suite, by subject."""

import pytest

pytest_plugins = ["tests.fix_db", "tests.fix_app", "tests.fix_telemetry"]

_VECTORS = "--wycheproof"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the path of what others have published, and nobody may copy."""
    parser.addoption(
        _VECTORS,
        metavar="FILE",
        help="Project Wycheproof's testvectors_v1/json_web_signature_test.json",
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave out what needs a file that was not named; the summary says so."""
    if config.getoption(_VECTORS):
        return
    without = [each for each in items if each.get_closest_marker("wycheproof")]
    config.hook.pytest_deselected(items=without)
    items[:] = [each for each in items if each not in without]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was left out."""
    if not config.getoption(_VECTORS):
        terminalreporter.write_line(
            f"left out: Project Wycheproof's vectors, which {_VECTORS} FILE names"
        )
