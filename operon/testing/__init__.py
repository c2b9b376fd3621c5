"""The testing kit: what proves that a workflow survives whatever happens to it.

Fixtures for pytest are in `operon.testing.plugin`, which pytest finds by itself. They
are made of what is here, and what is here works with any other test runner:

* `bound_to` lets all that an Operon does be part of a session's transaction, which is
  rolled back; `inline` has it commit. Neither has threads, and whoever waits by a
  `DrivenClock` lets the time pass.
* `Crasher` lets the process die at a named point; `explore` lets it die at every
  COMMIT that a run makes, and compares what comes of it. `Crashes` does both.
* `Activities` answers activities by fakes; `TokenIssuer` signs tokens; `RecordedSpans`
  keeps traces; `replay` plays an exported run by today's code.
"""

from operon.engine.invariants import InvariantBroken
from operon.points import Point
from operon.telemetry.recorded import RecordedSpans
from operon.testing.activities import Activities
from operon.testing.activities import ActivityCall
from operon.testing.clock import TurnedClock
from operon.testing.crash import Crasher
from operon.testing.crashes import Crashes
from operon.testing.databases import OwnDatabase
from operon.testing.determinism import DeterminismWarning
from operon.testing.driving import DrivenClock
from operon.testing.driving import Driver
from operon.testing.driving import bound_to
from operon.testing.driving import inline
from operon.testing.explore import explore
from operon.testing.findings import Exploration
from operon.testing.findings import Finding
from operon.testing.findings import NotCrashSafeError
from operon.testing.life import Crash
from operon.testing.replay import replay
from operon.testing.tokens import Token
from operon.testing.tokens import TokenIssuer

__all__ = [
    "Activities",
    "ActivityCall",
    "Crash",
    "Crasher",
    "Crashes",
    "DeterminismWarning",
    "DrivenClock",
    "Driver",
    "Exploration",
    "Finding",
    "InvariantBroken",
    "NotCrashSafeError",
    "OwnDatabase",
    "Point",
    "RecordedSpans",
    "Token",
    "TokenIssuer",
    "TurnedClock",
    "bound_to",
    "explore",
    "inline",
    "replay",
]
