"""How a subject talks: one JSON object a line, asked on stdin, answered on stdout.

A question names a scenario and its parameters; the answer is what the scenario
returns, or `{"error": traceback}`. A subject ends when its stdin does, so it never
outlives whoever asks.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from collections.abc import Mapping
from importlib import metadata
from typing import Any

Scenario = Callable[..., Mapping[str, Any]]


def serve(scenarios: Mapping[str, Scenario], *distributions: str) -> None:
    """Answer questions until there are no more, then end the process at once.

    Args:
        scenarios: What can be asked, by name.
        distributions: Of which packages `versions` tells the version.
    """
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # what a library prints must not become an answer
        known = {"versions": lambda: _versions(distributions), **scenarios}
        for line in sys.stdin:
            print(json.dumps(_answered(known, json.loads(line))), file=answers)
            answers.flush()
    os._exit(0)  # no library's threads keep it


def _answered(
    scenarios: Mapping[str, Scenario], question: dict[str, Any]
) -> Mapping[str, Any]:
    try:
        return scenarios[question.pop("scenario")](**question)
    except Exception:  # noqa: BLE001 - whoever asked shows it
        return {"error": traceback.format_exc()}


def _versions(distributions: tuple[str, ...]) -> dict[str, str]:
    python = ".".join(map(str, sys.version_info[:3]))
    return {
        "python": python,
        **{name: metadata.version(name) for name in distributions},
    }
