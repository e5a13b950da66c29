"""Refusals in EC2's own words: code, and the HTTP status that goes with it."""

from moto.ec2.exceptions import EC2ClientError

# Source: EC2 API Reference "Error codes": client errors are 4xx, server errors 5xx. botocore reads
# only the code.
_STATUS = {
    "AuthFailure": 401,
    "UnauthorizedOperation": 403,
    "DryRunOperation": 412,
    "RequestLimitExceeded": 503,
}


class NotModelled(EC2ClientError):
    """The test cloud does not know what AWS does with this; it must be taught before it is used."""

    def __init__(self, operation: str, what: str) -> None:
        super().__init__("NotModelled", f"{operation}: {what} is not modelled by the test cloud")


def refusal(code: str, message: str) -> EC2ClientError:
    return EC2ClientError(code, message)


def no_snapshot(snapshot_id: str) -> EC2ClientError:
    return refusal("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")


def http_status(error: EC2ClientError) -> int:
    return 501 if isinstance(error, NotModelled) else _STATUS.get(error.code, 400)
