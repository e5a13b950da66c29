"""What each error of AWS means for us: one table, from service and code to error class."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Literal

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
CAPACITY = timedelta(minutes=2)
"""EC2 has no room for an instance of a type now; it asks to wait "a few minutes"."""

Service = Literal[
    "dynamodb",
    "ec2",
    "events",
    "iam",
    "kms",
    "lambda",
    "s3",
    "scheduler",
    "secretsmanager",
    "service-quotas",
    "sns",
    "sqs",
    "ssm",
    "stepfunctions",
    "sts",
]
"""boto3's names of the clients that we make."""


class Verdict(StrEnum):
    AGAIN = "again"
    GIVE_UP = "give up"
    DONE = "done already"
    PERSON = "a person must act"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an error is for us.

    ``after``: for what may work later. ``advice``: what a person can change. ``effect_unknown``:
    of an error that is ``Unavailable``, whether the call may have been carried out all the same.
    """

    error: type[errors.LastgoodError]
    after: timedelta = SOON
    advice: str = ""
    effect_unknown: bool = True

    @property
    def verdict(self) -> Verdict:
        if issubclass(self.error, errors.TryAgain):
            return Verdict.AGAIN
        if issubclass(self.error, errors.AlreadyDone):
            return Verdict.DONE
        return Verdict.PERSON if self.advice else Verdict.GIVE_UP


_THROTTLED = Meaning(errors.Throttled)
_UNAVAILABLE = Meaning(errors.Unavailable)
_TOO_LATE = Meaning(errors.Unavailable, effect_unknown=False)
"""It was signed long before it came, with credentials that have been renewed since."""
_SPACING = Meaning(errors.LimitReached, SPACING)
_PENDING = Meaning(errors.LimitReached, PENDING)
_CAPACITY = Meaning(errors.LimitReached, CAPACITY)
_DONE = Meaning(errors.AlreadyDone)
_GONE = Meaning(errors.SourceGone)
_REFUSED = Meaning(errors.CallRefused)
"""A mistake of ours, or a thing that we do not use: nothing outside of the code can mend it."""
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
_ACCOUNT = Meaning(
    errors.CallRefused, advice="The account itself is stopped: ask AWS Support what it lacks."
)
_QUOTA = Meaning(
    errors.CallRefused, advice="Remove what is not needed, or raise the quota that EC2 names."
)
_ELSEWHERE = Meaning(
    errors.CallRefused,
    advice="It is not there any more, or was named wrongly: ask for the restore with another.",
)
_NOT_SO = Meaning(
    errors.CallRefused,
    advice="EC2 cannot make it as it was: ask for the restore with another type, zone or subnet.",
)
_NO_LEDGER = Meaning(errors.LedgerMissing, advice="Deploy the stack that holds the table.")
_NOT_WHOLE = Meaning(
    errors.CallRefused, advice="Redeploy the stack: a part of it is gone or was changed."
)


def _table(*rows: tuple[Meaning, str]) -> dict[str, Meaning]:
    return {code: meaning for meaning, codes in rows for code in codes.split()}


COMMON = _table(
    (
        _THROTTLED,
        "BandwidthLimitExceeded EC2ThrottledException LimitExceededException "
        "PriorRequestNotComplete ProvisionedThroughputExceededException RequestLimitExceeded "
        "RequestThrottled RequestThrottledException SlowDown Throttled ThrottledException "
        "Throttling ThrottlingException TooManyRequestsException TransactionInProgressException",
    ),
    (
        _UNAVAILABLE,
        "InternalError InternalException InternalFailure InternalServerError RequestTimeout "
        "RequestTimeoutException ServiceUnavailable Unavailable",
    ),
    (_TOO_LATE, "ExpiredToken ExpiredTokenException RequestExpired"),
    (
        _DENIED,
        "AccessDenied AccessDeniedException IncompleteSignature IncompleteSignatureException "
        "InvalidClientTokenId InvalidSignatureException MissingAuthenticationToken "
        "MissingAuthenticationTokenException NotAuthorized OptInRequired SignatureDoesNotMatch "
        "UnrecognizedClientException",
    ),
    (_REFUSED, "UnknownOperationException ValidationError ValidationException"),
)
"""What any service may answer: "Common errors" of the API references, and all that botocore takes
for throttling or for passing (``botocore.retries.standard``)."""

MEANINGS: dict[Service, dict[str, Meaning]] = {
    "dynamodb": COMMON
    | _table(
        (_THROTTLED, "ReplicatedWriteConflictException TransactionConflictException"),
        (_NO_LEDGER, "ResourceNotFoundException"),
        # The first and the last are answers, which the ledger reads before they come here.
        (
            _REFUSED,
            "ConditionalCheckFailedException IdempotentParameterMismatchException "
            "ItemCollectionSizeLimitExceededException TransactionCanceledException",
        ),
    ),
    "ec2": COMMON
    | _table(
        (_UNAVAILABLE, "RetryableError ServerInternal"),
        (_TOO_LATE, "InvalidSecurity.RequestHasExpired"),
        (_SPACING, "SnapshotCreationPerVolumeRateExceeded"),
        (
            _PENDING,
            "ConcurrentSnapshotLimitExceeded ConcurrentTagAccess IncorrectState InvalidState "
            "PendingSnapshotLimitExceeded ResourceLimitExceeded",
        ),
        (_DONE, "InvalidSnapshot.NotFound"),
        (
            _GONE,
            "InvalidInstanceID InvalidInstanceID.Malformed InvalidInstanceID.NotFound "
            "InvalidVolume.NotFound InvalidVolumeID.Malformed",
        ),
        (_DENIED, "UnauthorizedOperation"),
        (_REGION, "AuthFailure InvalidClientTokenId OptInRequired"),
        (
            _KEY,
            "CustomerKeyHasBeenRevoked InvalidKMSKey.InvalidState InvalidKMSKeyId.Malformed",
        ),
        (_ACCOUNT, "AccountDisabled Blocked PendingVerification"),
        (
            Meaning(
                errors.InUse,
                advice="Deregister the AMI that uses the snapshot, or unlock it, and delete it.",
            ),
            "InvalidSnapshot.InUse",
        ),
        (
            Meaning(
                errors.InUse,
                advice="Take away what protects it: an AMI, a lock, or protection from "
                "termination or stopping.",
            ),
            "OperationNotPermitted",
        ),
        (
            Meaning(errors.InUse, advice="Detach the volume from what it is attached to."),
            "VolumeInUse",
        ),
        (_DONE, "InvalidAMIID.NotFound InvalidAMIID.Unavailable InvalidAttachment.NotFound"),
        (
            _CAPACITY,
            "InsufficientCapacity InsufficientCapacityOnHost InsufficientHostCapacity "
            "InsufficientInstanceCapacity InsufficientVolumeCapacity",
        ),
        (
            _QUOTA,
            "AttachmentLimitExceeded InstanceLimitExceeded MaxIOPSLimitExceeded "
            "NetworkInterfaceLimitExceeded PrivateIpAddressLimitExceeded VcpuLimitExceeded "
            "VolumeIOPSLimit VolumeLimitExceeded",
        ),
        (
            Meaning(
                errors.CallRefused,
                advice="Free addresses of the subnet, or ask for the restore in another.",
            ),
            "InsufficientFreeAddressesInSubnet",
        ),
        (
            Meaning(
                errors.CallRefused,
                advice="Ask for the restore with another private_ip, or with none.",
            ),
            "InvalidIPAddress.InUse",
        ),
        (
            _ELSEWHERE,
            "InvalidGroup.NotFound InvalidHostID.NotFound InvalidKeyPair.NotFound "
            "InvalidNetworkInterfaceID.NotFound InvalidPlacementGroup.Unknown "
            "InvalidSecurityGroupID.NotFound InvalidSubnetID.NotFound InvalidVpcID.NotFound",
        ),
        (
            _NOT_SO,
            "EncryptedVolumesNotSupported InstanceCreditSpecification.NotSupported "
            "InvalidAvailabilityZone InvalidDevice.InUse InvalidHostConfiguration InvalidHostState "
            "InvalidInterface.IpAddressLimitExceeded InvalidInstanceType InvalidSubnet "
            "InvalidTenancy InvalidVolume.ZoneMismatch InvalidZone.NotFound UnknownVolumeType "
            "UnsupportedHibernationConfiguration UnsupportedHostConfiguration UnsupportedTenancy "
            "VolumeTypeNotAvailableInZone",
        ),
        (
            Meaning(
                errors.CallRefused, advice="Delete snapshots, or raise the quota of the Region."
            ),
            "SnapshotLimitExceeded",
        ),
        (
            Meaning(
                errors.CallRefused,
                advice="Change the tags of the policy or of the source, or the tag policy of the "
                "organization.",
            ),
            "InvalidTagKey.Malformed TagLimitExceeded TagPolicyViolation",
        ),
        (
            _REFUSED,
            "DryRunOperation FilterLimitExceeded IdempotentParameterMismatch "
            "IncorrectInstanceState InvalidAMIAttributeItemValue InvalidAMIID.Malformed "
            "InvalidAMIName.Duplicate InvalidAMIName.Malformed InvalidAction "
            "InvalidBlockDeviceMapping InvalidCharacter InvalidFilter "
            "InvalidGroupId.Malformed InvalidInput InvalidInstanceAttributeValue "
            "InvalidInstanceState InvalidMaxResults InvalidNextToken "
            "InvalidPaginationToken InvalidParameter InvalidParameterCombination "
            "InvalidParameterDependency InvalidParameterValue InvalidQueryParameter InvalidRequest "
            "InvalidSnapshotID.Malformed InvalidUserData.Malformed InvalidUserID.Malformed "
            "MalformedQueryString "
            "MissingAction MissingInput MissingParameter NoSuchVersion NonEBSInstance "
            "ResourceCountExceeded UnknownParameter Unsupported UnsupportedInstanceAttribute "
            "UnsupportedOperation UnsupportedProtocol",
        ),
    ),
    "events": COMMON,
    "iam": COMMON
    | _table(
        (_UNAVAILABLE, "ServiceFailure"),
        (Meaning(errors.UnknownTarget), "NoSuchEntity"),
    ),
    "lambda": COMMON
    | _table(
        (
            _UNAVAILABLE,
            "CodeArtifactUserPendingException EC2UnexpectedException ENINotReadyException "
            "ResourceConflictException ResourceNotReadyException ServiceException "
            "SnapStartNotReadyException SnapStartTimeoutException",
        ),
        (_DONE, "DurableExecutionAlreadyStartedException"),
        (_THROTTLED, "KMSThrottlingException"),
        (
            _KEY,
            "KMSAccessDeniedException KMSDisabledException KMSInvalidStateException "
            "KMSNotFoundException",
        ),
        (
            Meaning(errors.CallRefused, advice="Raise the quota of Lambda that the message names."),
            "ServiceQuotaExceededException",
        ),
        (
            Meaning(
                errors.CallRefused,
                advice="Lambda took a function that asks itself to go on for an endless loop: set "
                "its RecursiveLoop to Allow.",
            ),
            "RecursiveInvocationException",
        ),
        (
            _NOT_WHOLE,
            "CodeArtifactUserDeletedException CodeArtifactUserFailedException "
            "EC2AccessDeniedException EFSIOException EFSMountConnectivityException "
            "EFSMountFailureException EFSMountTimeoutException ENILimitReachedException "
            "InvalidRuntimeException InvalidSecurityGroupIDException InvalidSubnetIDException "
            "InvalidZipFileException NoPublishedVersionException ResourceNotFoundException "
            "RuntimeAliasDeletedException RuntimeVersionDeletedException "
            "S3FilesMountConnectivityException S3FilesMountFailureException "
            "S3FilesMountTimeoutException SnapStartException "
            "SnapStartRegenerationFailureException SubnetIPAddressLimitReachedException",
        ),
        (
            _REFUSED,
            "InvalidParameterValueException InvalidRequestContentException "
            "ModeNotSupportedException RequestTooLargeException "
            "SerializedRequestEntityTooLargeException UnsupportedMediaTypeException",
        ),
    ),
    "s3": COMMON
    | _table(
        (_UNAVAILABLE, "OperationAborted"),
        (
            _KEY,
            "KMS.DisabledException KMS.InvalidKeyUsageException KMS.KMSInvalidStateException "
            "KMS.NotFoundException",
        ),
        (_DONE, "NoSuchKey"),
        (_NOT_WHOLE, "AllAccessDisabled NoSuchBucket PermanentRedirect"),
        (
            _REFUSED,
            "EncryptionTypeMismatch EntityTooLarge InvalidArgument InvalidObjectState "
            "InvalidRequest InvalidWriteOffset TooManyParts",
        ),
    ),
    # Of CreateSchedule, a conflict says that there is one of that name, which the adapter changes
    # then; of others, that another call is changing it.
    "scheduler": COMMON
    | _table(
        (_UNAVAILABLE, "InternalServerException"),
        (Meaning(errors.Unavailable, effect_unknown=False), "ConflictException"),
        (
            Meaning(errors.CallRefused, advice="Raise the quota of EventBridge Scheduler."),
            "ServiceQuotaExceededException",
        ),
        (_NOT_WHOLE, "ResourceNotFoundException"),
    ),
    # A key that is disabled comes as InvalidRequestException or DecryptionFailure.
    "secretsmanager": COMMON
    | _table(
        (_UNAVAILABLE, "InternalServiceError"),
        (_KEY, "DecryptionFailure"),
        (_NOT_WHOLE, "InvalidRequestException ResourceNotFoundException"),
        (_REFUSED, "InvalidParameterException"),
    ),
    "sns": COMMON
    | _table(
        (_THROTTLED, "KMSThrottling"),
        (_DENIED, "AuthorizationError"),
        (_KEY, "KMSAccessDenied KMSDisabled KMSInvalidState KMSNotFound KMSOptInRequired"),
        (_NOT_WHOLE, "NotFound"),
        (
            _REFUSED,
            "EndpointDisabled InvalidParameter InvalidSecurity ParameterValueInvalid "
            "PlatformApplicationDisabled",
        ),
    ),
    # SQS has two names for an error of a key: its protocol's, and that of the older one.
    "sqs": COMMON
    | _table(
        (_THROTTLED, "KMS.ThrottlingException KmsThrottled"),
        (
            _KEY,
            "KMS.AccessDeniedException KMS.DisabledException KMS.InvalidKeyUsageException "
            "KMS.InvalidStateException KMS.NotFoundException KMS.OptInRequired KmsAccessDenied "
            "KmsDisabled KmsInvalidKeyUsage KmsInvalidState KmsNotFound KmsOptInRequired",
        ),
        (_NOT_WHOLE, "InvalidAddress NonExistentQueue QueueDoesNotExist"),
        # A message whose time is over cannot be postponed: it has come back by itself.
        (
            _REFUSED,
            "BatchEntryIdsNotDistinct BatchRequestTooLong EmptyBatchRequest InvalidBatchEntryId "
            "InvalidMessageContents InvalidSecurity MessageNotInflight ReceiptHandleIsInvalid "
            "TooManyEntriesInBatchRequest UnsupportedOperation",
        ),
    ),
    "ssm": COMMON
    | _table(
        (_KEY, "InvalidKeyId"),
        (
            Meaning(
                errors.UnknownPolicy,
                advice="Add the policy to policies.yaml and deploy, or correct the name.",
            ),
            "ParameterNotFound",
        ),
        (
            Meaning(
                errors.CallRefused,
                advice="Let the SSM agent run on the instance, with an instance profile and a way "
                "out that let it reach SSM.",
            ),
            "InvalidInstanceId",
        ),
        (
            Meaning(
                errors.CallRefused,
                advice="Name another check_document, or correct the command of the check.",
            ),
            "InvalidDocument InvalidDocumentVersion InvalidParameters MaxDocumentSizeExceeded "
            "UnsupportedPlatformType",
        ),
        (Meaning(errors.UnknownTarget), "InvalidCommandId InvocationDoesNotExist"),
        (
            _REFUSED,
            "DuplicateInstanceId InvalidFilterKey InvalidFilterOption InvalidFilterValue "
            "InvalidInstanceInformationFilterValue InvalidNextToken InvalidNotificationConfig "
            "InvalidOutputFolder InvalidPluginName InvalidRole ParameterVersionNotFound",
        ),
    ),
    "stepfunctions": COMMON
    | _table(
        (_THROTTLED, "KmsThrottlingException"),
        (_KEY, "KmsAccessDeniedException KmsInvalidStateException"),
        (Meaning(errors.LimitReached, PENDING), "ExecutionLimitExceeded"),
        (_DONE, "ExecutionAlreadyExists InvalidToken TaskDoesNotExist TaskTimedOut"),
        (Meaning(errors.UnknownTarget), "ExecutionDoesNotExist"),
        (_NOT_WHOLE, "ResourceNotFound StateMachineDeleting StateMachineDoesNotExist"),
        (
            _REFUSED,
            "InvalidArn InvalidExecutionInput InvalidName InvalidOutput "
            "StateMachineTypeNotSupported",
        ),
    ),
    "kms": COMMON
    | _table(
        (_UNAVAILABLE, "DependencyTimeoutException KMSInternalException"),
        (
            Meaning(errors.KeyDenied, advice="Create it in that Region, or correct kms_key."),
            "InvalidArnException NotFoundException",
        ),
    ),
    "service-quotas": COMMON
    | _table(
        (_UNAVAILABLE, "ServiceException"),
        (_REFUSED, "IllegalArgumentException InvalidPaginationTokenException"),
        (_REFUSED, "NoSuchResourceException"),
    ),
    # A role that is not there is denied as one that does not trust us is.
    "sts": COMMON
    | _table(
        (
            Meaning(
                errors.AccessDenied,
                advice="Deploy the stack of that account and Region (docs/copies.md); if it is "
                "refused still, compare the external id.",
            ),
            "AccessDenied",
        ),
        (
            Meaning(errors.RegionNotEnabled, advice="Activate STS in the Region for the account."),
            "RegionDisabledException",
        ),
        (_REFUSED, "ExpiredTokenException MalformedPolicyDocument PackedPolicyTooLarge"),
    ),
}
"""By service and code. Codes of EC2: API Reference, "Error codes", what our calls can get; of the
others: the errors that botocore's models list for our calls.

botocore tries again by itself what is throttled or has a status of 500, 502, 503 or 504, where a
client may (``lastgood.aws.clients``): what comes here has outlasted that. It knows none of the
limits of snapshots. A code that is not here is taken for a lasting refusal, and shown; unless the
status says that the fault is with AWS.
"""

UNSENT = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError)
"""Without a connection, a call has had no effect."""


@contextmanager
def translated(service: Service, what: str) -> Iterator[None]:
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


def translate(service: Service, error: ClientError, what: str) -> errors.LastgoodError:
    details = error.response["Error"]
    code = _code(error)
    meaning = MEANINGS[service].get(code) or _by_status(error)
    text = details.get("Message") or ""
    if meaning is _DENIED and ("kms:" in text or "KMS key" in text):
        # DynamoDB, SNS and SSM report a refusal of the key as their own (KMS Developer Guide).
        meaning = _KEY
    message = f"{what}: {code}: {text or 'no message'}"
    if meaning.advice:
        message = f"{message.rstrip('. ')}. {meaning.advice}"
    if issubclass(meaning.error, errors.Unavailable):
        return meaning.error(message, meaning.after, meaning.effect_unknown)
    if issubclass(meaning.error, errors.TryAgain):
        return meaning.error(message, meaning.after)
    return meaning.error(message)


def code_of(error: errors.LastgoodError) -> str:
    """AWS's own code, of an error that ``translated`` raised; empty without one."""
    cause = error.__cause__
    return _code(cause) if isinstance(cause, ClientError) else ""


def _code(error: ClientError) -> str:
    """Without what some protocols and services put before it."""
    code: str = error.response["Error"].get("Code", "")
    for before in ("AWS.SimpleQueueService.", "Client.", "Server."):
        code = code.removeprefix(before)
    return code.rsplit("#", 1)[-1]


def _by_status(error: ClientError) -> Meaning:
    """A balancer in front of a service answers without a code of it: its status is all we have."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _THROTTLED
    return _UNAVAILABLE if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _REFUSED
