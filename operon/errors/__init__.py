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

from operon.errors.base import OperonError as OperonError
from operon.errors.declaring import ConfigurationError as ConfigurationError
from operon.errors.declaring import DeclarationError as DeclarationError
from operon.errors.declaring import DuplicateNameError as DuplicateNameError
from operon.errors.declaring import SignatureError as SignatureError
from operon.errors.misuse import ActivityInStepError as ActivityInStepError
from operon.errors.misuse import CommitInStepError as CommitInStepError
from operon.errors.misuse import MisuseError as MisuseError
from operon.errors.misuse import NoCurrentRunError as NoCurrentRunError
from operon.errors.queue import DuplicateRunError as DuplicateRunError
from operon.errors.queue import QueueError as QueueError
from operon.errors.queue import UnknownQueueError as UnknownQueueError
from operon.errors.queue import UnknownScheduleError as UnknownScheduleError
from operon.errors.run import LeaseLostError as LeaseLostError
from operon.errors.run import ResultTimeoutError as ResultTimeoutError
from operon.errors.run import ResumeRefusedError as ResumeRefusedError
from operon.errors.run import RetryRefusedError as RetryRefusedError
from operon.errors.run import RoleMissingError as RoleMissingError
from operon.errors.run import RunCancelled as RunCancelled
from operon.errors.run import RunCancelledError as RunCancelledError
from operon.errors.run import RunConflictError as RunConflictError
from operon.errors.run import RunDeadError as RunDeadError
from operon.errors.run import RunError as RunError
from operon.errors.run import RunNotFoundError as RunNotFoundError
from operon.errors.run import RunTimeoutError as RunTimeoutError
from operon.errors.step import NonDeterminismError as NonDeterminismError
from operon.errors.step import RecordedError as RecordedError
from operon.errors.step import ResultNotSerializableError as ResultNotSerializableError
from operon.errors.step import StepError as StepError
from operon.errors.step import StepTimeoutError as StepTimeoutError
from operon.errors.world import DatabaseUnavailableError as DatabaseUnavailableError
from operon.errors.world import DecodeError as DecodeError
from operon.errors.world import ExecutorStoppedError as ExecutorStoppedError
from operon.errors.world import SchemaError as SchemaError
