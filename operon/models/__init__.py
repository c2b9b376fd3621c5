"""Operon's tables as ORM classes, on a MetaData of their own.

They are public: query them, join them, point foreign keys and relationships at
them (`ForeignKey(WorkflowRun.id)`). Payload columns hold JSON text exactly as it
was encoded. Writing to them is Operon's business; nothing here sends a statement.

No foreign keys join Operon's own tables: each would lock the run's row at every
step. Every index that running work uses is partial on live rows, so the cost of a
step does not grow with the number of finished runs.
"""

from operon.models.base import Base as Base
from operon.models.base import UTCDateTime as UTCDateTime
from operon.models.executors import ExecutorRecord as ExecutorRecord
from operon.models.history import Attempt as Attempt
from operon.models.history import Checkpoint as Checkpoint
from operon.models.mail import Event as Event
from operon.models.mail import Message as Message
from operon.models.mail import StreamItem as StreamItem
from operon.models.planning import QueuePartition as QueuePartition
from operon.models.planning import QueueRecord as QueueRecord
from operon.models.planning import ScheduleRecord as ScheduleRecord
from operon.models.requests import WebRequest as WebRequest
from operon.models.runs import WorkflowRun as WorkflowRun
