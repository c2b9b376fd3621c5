"""Operon's tables as ORM classes, on a MetaData of their own.

They are public: query them, join them, point foreign keys and relationships at
them (`ForeignKey(WorkflowRun.id)`). Payload columns hold JSON text exactly as it
was encoded. Writing to them is Operon's business; nothing here sends a statement.

No foreign keys join Operon's own tables: each would lock the run's row at every
step. Every index that running work uses is partial on live rows, so the cost of a
step does not grow with the number of finished runs.
"""

from operon.models.base import Base
from operon.models.base import UTCDateTime
from operon.models.executors import ExecutorRecord
from operon.models.history import Attempt
from operon.models.history import Checkpoint
from operon.models.mail import Event
from operon.models.mail import Message
from operon.models.mail import StreamItem
from operon.models.planning import QueuePartition
from operon.models.planning import QueueRecord
from operon.models.planning import ScheduleRecord
from operon.models.requests import WebRequest
from operon.models.runs import WorkflowRun

__all__ = [
    "Attempt",
    "Base",
    "Checkpoint",
    "Event",
    "ExecutorRecord",
    "Message",
    "QueuePartition",
    "QueueRecord",
    "ScheduleRecord",
    "StreamItem",
    "UTCDateTime",
    "WebRequest",
    "WorkflowRun",
]
