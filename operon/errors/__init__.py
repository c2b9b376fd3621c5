"""Every error Operon raises, as one tree.

```
OperonError
├── DeclarationError ── DuplicateNameError · SignatureError
├── ConfigurationError
├── MisuseError ── NoCurrentRunError · ActivityInStepError · CommitInStepError
├── RunError ── RunNotFoundError · RunConflictError · RunCancelledError
│             · RunDeadError · RunTimeoutError · ResultTimeoutError
│             · RetryRefusedError · ResumeRefusedError
│             · RoleMissingError · LeaseLostError
├── StepError ── StepTimeoutError · ResultNotSerializableError · RecordedError
│              · NonDeterminismError
├── DatabaseUnavailableError · SchemaError · DecodeError
├── QueueError ── UnknownQueueError · DuplicateRunError
├── UnknownScheduleError
└── ExecutorStoppedError
RunCancelled (BaseException)     delivered into a body, which may compensate
```

An error names the fact and the cure; its facts are attributes; it survives
pickling. This file knows nothing of databases, HTTP or the engine.
"""

from operon.errors.base import OperonError
from operon.errors.declaring import ConfigurationError
from operon.errors.declaring import DeclarationError
from operon.errors.declaring import DuplicateNameError
from operon.errors.declaring import SignatureError
from operon.errors.misuse import ActivityInStepError
from operon.errors.misuse import CommitInStepError
from operon.errors.misuse import MisuseError
from operon.errors.misuse import NoCurrentRunError
from operon.errors.queue import DuplicateRunError
from operon.errors.queue import QueueError
from operon.errors.queue import UnknownQueueError
from operon.errors.queue import UnknownScheduleError
from operon.errors.run import LeaseLostError
from operon.errors.run import ResultTimeoutError
from operon.errors.run import ResumeRefusedError
from operon.errors.run import RetryRefusedError
from operon.errors.run import RoleMissingError
from operon.errors.run import RunCancelled
from operon.errors.run import RunCancelledError
from operon.errors.run import RunConflictError
from operon.errors.run import RunDeadError
from operon.errors.run import RunError
from operon.errors.run import RunNotFoundError
from operon.errors.run import RunTimeoutError
from operon.errors.step import NonDeterminismError
from operon.errors.step import RecordedError
from operon.errors.step import ResultNotSerializableError
from operon.errors.step import StepError
from operon.errors.step import StepTimeoutError
from operon.errors.world import DatabaseUnavailableError
from operon.errors.world import DecodeError
from operon.errors.world import ExecutorStoppedError
from operon.errors.world import SchemaError

__all__ = [
    "ActivityInStepError",
    "CommitInStepError",
    "ConfigurationError",
    "DatabaseUnavailableError",
    "DeclarationError",
    "DecodeError",
    "DuplicateNameError",
    "DuplicateRunError",
    "ExecutorStoppedError",
    "LeaseLostError",
    "MisuseError",
    "NoCurrentRunError",
    "NonDeterminismError",
    "OperonError",
    "QueueError",
    "RecordedError",
    "ResultNotSerializableError",
    "ResultTimeoutError",
    "ResumeRefusedError",
    "RetryRefusedError",
    "RoleMissingError",
    "RunCancelled",
    "RunCancelledError",
    "RunConflictError",
    "RunDeadError",
    "RunError",
    "RunNotFoundError",
    "RunTimeoutError",
    "SchemaError",
    "SignatureError",
    "StepError",
    "StepTimeoutError",
    "UnknownQueueError",
    "UnknownScheduleError",
]
