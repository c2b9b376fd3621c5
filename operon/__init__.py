"""Operon: durable workflows on SQLAlchemy.

A step's business rows and the checkpoint that remembers the step commit in one
transaction, so a program resumes exactly where it left off after any failure.
"""

from operon.app import Operon as Operon
from operon.bodies import Future as Future
from operon.context import current as current
from operon.errors import RunCancelled as RunCancelled
from operon.handle import Handle as Handle
from operon.queue import Queue as Queue
from operon.queue import Rate as Rate
from operon.retry import Retry as Retry
from operon.status import RunStatus as RunStatus
from operon.step import activity as activity
from operon.step import step as step
from operon.transaction import Invocation as Invocation
from operon.transaction import transaction as transaction
from operon.workflow import Workflow as Workflow
