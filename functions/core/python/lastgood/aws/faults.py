"""What each error of AWS means for us: one table, from code to error class."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus

from botocore import exceptions as botocore_errors
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ProxyConnectionError,
)

from lastgood import errors

SOON = timedelta(seconds=5)
SPACING = timedelta(seconds=20)
"""Snapshots of one volume are to be 15 s apart (EBS User Guide, "Quotas for Amazon EBS")."""
PENDING = timedelta(minutes=2)
"""A pending snapshot needs a while to complete; nothing tells how long."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """``after``: for what may work later. ``advice``: what a person can change."""

    error: type[errors.LastgoodError]
    after: timedelta = SOON
    advice: str = ""


_THROTTLED = Meaning(errors.Throttled)
_UNAVAILABLE = Meaning(errors.Unavailable)
_DENIED = Meaning(
    errors.AccessDenied, advice="Redeploy the stack; if it is refused still, look for an SCP."
)
_REGION = Meaning(
    errors.RegionNotEnabled,
    advice="Enable the Region for the account, or take it out of the policy's select.regions.",
)
_KEY = Meaning(
    errors.KeyDenied, advice="Enable the KMS key, and let Lastgood's role use it in its key policy."
)
_GONE = Meaning(errors.SourceGone)
_NO_LEDGER = Meaning(errors.LedgerMissing, advice="Deploy the stack that holds the table.")
_REFUSED = Meaning(errors.CallRefused)

MEANINGS = {
    "RequestLimitExceeded": _THROTTLED,
    "RequestThrottled": _THROTTLED,
    "Throttling": _THROTTLED,
    "ThrottlingException": _THROTTLED,
    "TooManyRequestsException": _THROTTLED,
    "ProvisionedThroughputExceededException": _THROTTLED,
    "RequestThrottledException": _THROTTLED,
    "TransactionConflictException": _THROTTLED,
    "TransactionInProgressException": _THROTTLED,
    "KMS.ThrottlingException": _THROTTLED,
    "SnapshotCreationPerVolumeRateExceeded": Meaning(errors.LimitReached, SPACING),
    "ConcurrentSnapshotLimitExceeded": Meaning(errors.LimitReached, PENDING),
    "SnapshotLimitExceeded": Meaning(
        errors.CallRefused, advice="Delete snapshots, or raise the quota of the Region."
    ),
    "InternalError": _UNAVAILABLE,
    "InternalException": _UNAVAILABLE,
    "InternalFailure": _UNAVAILABLE,
    "InternalServerError": _UNAVAILABLE,
    "ServiceUnavailable": _UNAVAILABLE,
    "Unavailable": _UNAVAILABLE,
    "UnauthorizedOperation": _DENIED,
    "AccessDenied": _DENIED,
    "AccessDeniedException": _DENIED,
    "AuthFailure": _REGION,
    "OptInRequired": _REGION,
    "InvalidInstanceID.NotFound": _GONE,
    "InvalidInstanceID.Malformed": _GONE,
    "InvalidInstanceID": _GONE,
    "InvalidVolume.NotFound": _GONE,
    # SQS has two names for each of these: its protocol's, and that of the older one.
    "KmsAccessDenied": _KEY,
    "KmsDisabled": _KEY,
    "KmsInvalidState": _KEY,
    "KmsNotFound": _KEY,
    "KmsOptInRequired": _KEY,
    "KmsThrottled": _THROTTLED,
    "KMS.AccessDeniedException": _KEY,
    "KMS.DisabledException": _KEY,
    "KMS.InvalidStateException": _KEY,
    "KMS.NotFoundException": _KEY,
    "KMS.OptInRequired": _KEY,
    "InvalidKMSKey.InvalidState": _KEY,
    "InvalidKMSKeyId.Malformed": _KEY,
    "ParameterNotFound": Meaning(errors.UnknownPolicy),
    "ResourceNotFoundException": _NO_LEDGER,
}
"""Codes of EC2 (API Reference, "Error codes"), DynamoDB, SQS, EventBridge and SSM (botocore).

botocore's standard mode retries the throttling codes by itself, but not the two snapshot limits.
A code that is not here is taken for a lasting refusal, and shown; unless the status says that the
fault is with AWS.
"""


UNSENT = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError)
"""Without a connection, a call has had no effect."""


@contextmanager
def translated(service: str, what: str) -> Iterator[None]:
    """Turn what botocore raises into our errors.

    ``service`` is boto3's name of the client. ``what`` begins the message: what was tried.
    """
    try:
        yield
    except ClientError as error:
        raise translate(service, error, what) from error
    except (botocore_errors.ConnectionError, HTTPClientError) as error:
        sent = not isinstance(error, UNSENT)
        raise errors.Unavailable(f"{what}: {error}", SOON, effect_unknown=sent) from error


def translate(service: str, error: ClientError, what: str) -> errors.LastgoodError:
    details = error.response["Error"]
    code = details.get("Code", "").removeprefix("AWS.SimpleQueueService.")
    code = code.rsplit("#", 1)[-1]
    meaning = MEANINGS.get(code) or _by_status(error)
    if meaning is _NO_LEDGER and service != "dynamodb":
        meaning = _REFUSED
    if meaning is _DENIED and "kms:" in details.get("Message", ""):
        # DynamoDB and SSM report a refusal of the key as their own (KMS Developer Guide).
        meaning = _KEY
    message = f"{what}: {code}: {details.get('Message') or 'no message'}"
    if meaning.advice:
        message = f"{message.rstrip('. ')}. {meaning.advice}"
    if issubclass(meaning.error, errors.TryAgain):
        return meaning.error(message, meaning.after)
    return meaning.error(message)


def _by_status(error: ClientError) -> Meaning:
    """A balancer in front of a service answers without a code of it: its status is all we have."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _THROTTLED
    return _UNAVAILABLE if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _REFUSED
