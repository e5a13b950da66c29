"""Started in every execution environment: Lambda's own runtime client, on the cloud's time.

Usage: lambda_bootstrap.py TIMEOUT_SECONDS START_EPOCH_SECONDS HANDLER
"""

import os
import sys
from datetime import UTC, datetime

import time_machine
from awslambdaric import bootstrap  # type: ignore[import-untyped]
from awslambdaric.lambda_runtime_client import (  # type: ignore[import-untyped]
    InvocationRequest,
    LambdaRuntimeClient,
)


class CloudTimeClient(LambdaRuntimeClient):  # type: ignore[misc]
    """Sets this process's clock at each invocation: now is the deadline less the timeout."""

    def __init__(self, address: str, timeout: float, clock: time_machine.Traveller) -> None:
        super().__init__(address)
        self._timeout = timeout
        self._clock = clock

    def wait_next_invocation(self) -> InvocationRequest:
        request = super().wait_next_invocation()
        now = int(request.deadline_time_in_ms) / 1000 - self._timeout
        self._clock.move_to(datetime.fromtimestamp(now, UTC))
        return request


def main() -> None:
    timeout, start, handler = sys.argv[1:]
    began = datetime.fromtimestamp(float(start), UTC)
    with time_machine.travel(began, tick=True) as clock:
        address = os.environ["AWS_LAMBDA_RUNTIME_API"]
        bootstrap.run(handler, CloudTimeClient(address, float(timeout), clock))


if __name__ == "__main__":
    main()
