"""Names of attributes: the conventions' where there is one, `operon.…` elsewhere.

Source:
    OpenTelemetry, "Semantic Conventions"; spans for HTTP and errors.
"""

from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.http_attributes import HTTP_REQUEST_METHOD
from opentelemetry.semconv.attributes.http_attributes import HTTP_RESPONSE_STATUS_CODE
from opentelemetry.semconv.attributes.http_attributes import HTTP_ROUTE

__all__ = [
    "ERROR_TYPE",
    "HTTP_REQUEST_METHOD",
    "HTTP_RESPONSE_STATUS_CODE",
    "HTTP_ROUTE",
]

WORKFLOW_NAME = "operon.workflow.name"
WORKFLOW_VERSION = "operon.workflow.version"
RUN_ID = "operon.run.id"
RUN_EPOCH = "operon.run.epoch"
RUN_STATUS = "operon.run.status"
RUN_RECOVERED = "operon.run.recovered"
STEP_NAME = "operon.step.name"
STEP_KIND = "operon.step.kind"
STEP_POSITION = "operon.step.position"
STEP_ATTEMPT = "operon.step.attempt"
STEP_OUTCOME = "operon.step.outcome"
QUEUE_NAME = "operon.queue.name"
EXECUTOR_ID = "operon.executor.id"
REQUEST_ID = "operon.request.id"
KEY_OUTCOME = "operon.idempotency.outcome"
PROBLEM = "operon.problem"
REASON = "operon.reason"
SLOT_STATE = "operon.slot.state"
