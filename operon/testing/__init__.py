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

Each is imported when somebody asks for it: pytest finds the plugin in every project.
"""

from typing import TYPE_CHECKING

from operon.on_demand import on_demand

if TYPE_CHECKING:
    from operon.engine.invariants import InvariantBroken as InvariantBroken
    from operon.points import Point as Point
    from operon.telemetry.recorded import RecordedSpans as RecordedSpans
    from operon.testing.activities import Activities as Activities
    from operon.testing.activities import ActivityCall as ActivityCall
    from operon.testing.clock import TurnedClock as TurnedClock
    from operon.testing.crash import Crasher as Crasher
    from operon.testing.crashes import Crashes as Crashes
    from operon.testing.databases import OwnDatabase as OwnDatabase
    from operon.testing.determinism import DeterminismWarning as DeterminismWarning
    from operon.testing.driving import DrivenClock as DrivenClock
    from operon.testing.driving import Driver as Driver
    from operon.testing.driving import bound_to as bound_to
    from operon.testing.driving import inline as inline
    from operon.testing.exploring import explore as explore
    from operon.testing.findings import Exploration as Exploration
    from operon.testing.findings import Finding as Finding
    from operon.testing.findings import NotCrashSafeError as NotCrashSafeError
    from operon.testing.life import Crash as Crash
    from operon.testing.replaying import replay as replay
    from operon.testing.tokens import Token as Token
    from operon.testing.tokens import TokenIssuer as TokenIssuer

_PLACES = {
    "Activities": ".activities",
    "ActivityCall": ".activities",
    "Crash": ".life",
    "Crasher": ".crash",
    "Crashes": ".crashes",
    "DeterminismWarning": ".determinism",
    "DrivenClock": ".driving",
    "Driver": ".driving",
    "Exploration": ".findings",
    "Finding": ".findings",
    "InvariantBroken": "operon.engine.invariants",
    "NotCrashSafeError": ".findings",
    "OwnDatabase": ".databases",
    "Point": "operon.points",
    "RecordedSpans": "operon.telemetry.recorded",
    "Token": ".tokens",
    "TokenIssuer": ".tokens",
    "TurnedClock": ".clock",
    "bound_to": ".driving",
    "explore": ".exploring",
    "inline": ".driving",
    "replay": ".replaying",
}

__all__ = list(_PLACES)  # pyright: ignore[reportUnsupportedDunderAll] - imported when asked for

__getattr__ = on_demand(__name__, _PLACES)
