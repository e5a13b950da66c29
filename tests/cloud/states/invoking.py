"""What a state machine makes of Lambda's answers.

Source: Step Functions Developer Guide, "Invoke an AWS Lambda function with Step Functions" and
"Handling errors in Step Functions workflows", and what executions on AWS show.
"""

import json
from typing import Any

from tests.cloud.states.execution import TaskFailed

# Lambda's errors that bear their own name; Step Functions calls others AWSLambdaException.
BY_NAME = {
    "ResourceNotFoundException",
    "ServiceException",
    "TooManyRequestsException",
    "SdkClientException",
}


def answered(payload: Any, request_id: str, version: str = "$LATEST") -> dict[str, Any]:
    """The result of ``lambda:invoke``."""
    return {
        "ExecutedVersion": version,
        "Payload": payload,
        "SdkHttpMetadata": {"HttpStatusCode": 200},
        "SdkResponseMetadata": {"RequestId": request_id},
        "StatusCode": 200,
    }


def function_failed(payload: Any) -> TaskFailed:
    """The function ended with an error: named for its type, which is the class without module."""
    kind = payload.get("errorType") if isinstance(payload, dict) else None
    return TaskFailed(kind or "Lambda.Unknown", json.dumps(payload))


def refused(code: str, message: str, status: int) -> TaskFailed:
    """Lambda did not take the call."""
    name = code if code in BY_NAME else "AWSLambdaException"
    cause = f"{message} (Service: AWSLambda; Status Code: {status}; Error Code: {code})"
    return TaskFailed(f"Lambda.{name}", cause)


def lost(message: str) -> TaskFailed:
    """No answer came, of a call that may have had its effect."""
    return TaskFailed("Lambda.SdkClientException", message)
