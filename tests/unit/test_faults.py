"""Each error code of AWS has a meaning: its name here, when to try again, what can be changed."""

from datetime import timedelta

import pytest
from botocore import exceptions as botocore_errors
from botocore.exceptions import ClientError
from botocore.retries import standard

from lastgood import errors
from lastgood.aws.faults import (
    COMMON,
    MEANINGS,
    PENDING,
    SOON,
    SPACING,
    Meaning,
    Verdict,
    translate,
    translated,
)
from tests.support.error_table import (
    CALLED,
    EC2_CALLED,
    FILE,
    model,
    modelled,
    page,
    wire_errors,
)

URL = "https://ec2.eu-west-1.amazonaws.com/"

EC2_COMMON_CLIENT_ERRORS = """
AuthFailure Blocked DryRunOperation IdempotentParameterMismatch IncompleteSignature InvalidAction
InvalidCharacter InvalidClientTokenId InvalidPaginationToken InvalidParameter
InvalidParameterCombination InvalidParameterDependency InvalidParameterValue InvalidQueryParameter
MalformedQueryString MissingAction MissingAuthenticationToken MissingParameter OptInRequired
PendingVerification RequestExpired TagPolicyViolation UnauthorizedOperation UnknownParameter
UnsupportedInstanceAttribute UnsupportedOperation UnsupportedProtocol ValidationError
"""
EC2_SERVER_ERRORS = """
BandwidthLimitExceeded InsufficientCapacity InsufficientHostCapacity InsufficientInstanceCapacity
InsufficientVolumeCapacity InternalError InternalFailure RequestLimitExceeded ServerInternal
ServiceUnavailable Unavailable
"""
EC2_ERRORS_OF_OUR_CALLS = """
AccountDisabled AttachmentLimitExceeded ConcurrentSnapshotLimitExceeded ConcurrentTagAccess
CustomerKeyHasBeenRevoked EncryptedVolumesNotSupported FilterLimitExceeded IncorrectInstanceState
IncorrectState InstanceCreditSpecification.NotSupported InstanceLimitExceeded
InsufficientCapacityOnHost InsufficientFreeAddressesInSubnet InvalidAMIAttributeItemValue
InvalidAMIID.Malformed InvalidAMIID.NotFound InvalidAMIID.Unavailable InvalidAMIName.Duplicate
InvalidAMIName.Malformed InvalidAttachment.NotFound InvalidAvailabilityZone
InvalidBlockDeviceMapping InvalidDevice.InUse InvalidFilter InvalidGroup.NotFound
InvalidGroupId.Malformed InvalidHostConfiguration InvalidHostID.NotFound InvalidHostState
InvalidIPAddress.InUse InvalidInput InvalidInstanceAttributeValue InvalidInstanceID
InvalidInstanceID.Malformed InvalidInstanceID.NotFound InvalidInstanceState InvalidInstanceType
InvalidInterface.IpAddressLimitExceeded InvalidKMSKey.InvalidState InvalidKMSKeyId.Malformed
InvalidKeyPair.NotFound InvalidMaxResults InvalidNetworkInterfaceID.NotFound InvalidNextToken
InvalidPlacementGroup.Unknown InvalidRequest InvalidSecurity.RequestHasExpired
InvalidSecurityGroupID.NotFound InvalidSnapshot.InUse InvalidSnapshot.NotFound
InvalidSnapshotID.Malformed InvalidState InvalidSubnet InvalidSubnetID.NotFound
InvalidTagKey.Malformed InvalidTenancy InvalidUserData.Malformed InvalidUserID.Malformed
InvalidVolume.NotFound InvalidVolume.ZoneMismatch InvalidVolumeID.Malformed InvalidVpcID.NotFound
InvalidZone.NotFound MaxIOPSLimitExceeded MissingInput NetworkInterfaceLimitExceeded NoSuchVersion
NonEBSInstance OperationNotPermitted PendingSnapshotLimitExceeded PrivateIpAddressLimitExceeded
ResourceCountExceeded ResourceLimitExceeded RetryableError SignatureDoesNotMatch
SnapshotCreationPerVolumeRateExceeded SnapshotLimitExceeded TagLimitExceeded UnknownVolumeType
Unsupported UnsupportedHibernationConfiguration UnsupportedHostConfiguration UnsupportedTenancy
VcpuLimitExceeded VolumeIOPSLimit VolumeInUse VolumeLimitExceeded VolumeTypeNotAvailableInZone
"""
"""EC2 API Reference, "Error codes for the Amazon EC2 API": the three tables. Of the server errors,
those about reserved instances and Elastic IP addresses are none of ours."""
EC2_ERRORS = (EC2_COMMON_CLIENT_ERRORS + EC2_SERVER_ERRORS + EC2_ERRORS_OF_OUR_CALLS).split()


S3_ERRORS = {
    *("AllAccessDisabled", "EntityTooLarge", "InvalidArgument", "OperationAborted"),
    *("PermanentRedirect", "KMS.DisabledException", "KMS.InvalidKeyUsageException"),
    *("KMS.KMSInvalidStateException", "KMS.NotFoundException"),
}
"""Beside those of its model: S3 API Reference, "Error responses"."""


def everything_modelled(service):
    """The names of all errors of a service, as its replies bear them."""
    shapes = model(service)["shapes"].items()
    return {one.get("error", {}).get("code", name) for name, one in shapes if one.get("exception")}


def errors_of_our_calls():
    """Service, code, status: also under the names that SQS's replies do not bear."""
    return sorted(
        {
            (service, code.removeprefix("AWS.SimpleQueueService."), one.status)
            for service, operations in CALLED.items()
            for operation in operations
            for one in modelled(service, operation)
            for code in ([one.code, one.name] if service == "sqs" else [one.code])
        }
    )


def an_error(code, message="the message", status=400, operation="GetItem", **more):
    return ClientError(
        {
            "Error": {"Code": code, "Message": message, **more},
            "ResponseMetadata": {"HTTPStatusCode": status},
        },
        operation,
    )


def meaning_of(code, message="the message", status=400, **more):
    return translate("dynamodb", an_error(code, message, status, **more), "try it")


def of_ec2(code, message="the message", status=400):
    return translate("ec2", an_error(code, message, status), "try it")


# -- the table --------------------------------------------------------------------------------


@pytest.mark.parametrize(("service", "code", "status"), errors_of_our_calls())
def test_every_error_that_botocore_lists_for_a_call_of_ours_is_in_the_table(service, code, status):
    assert code in MEANINGS[service]


@pytest.mark.parametrize("code", EC2_ERRORS)
def test_every_error_of_ec2_that_our_calls_can_get_is_in_the_table(code):
    assert code in MEANINGS["ec2"]


@pytest.mark.parametrize("service", MEANINGS)
def test_the_table_has_no_code_that_its_service_does_not_send(service):
    if service == "ec2":
        known = set(EC2_ERRORS)
    else:
        known = everything_modelled(service)
        known |= {code for of, code, _ in errors_of_our_calls() if of == service}

    known |= {"KMSThrottlingException"} | (S3_ERRORS if service == "s3" else set())
    assert MEANINGS[service].keys() - COMMON.keys() <= known


@pytest.mark.parametrize("service", MEANINGS)
def test_what_botocore_tries_again_is_tried_again_here(service):
    codes = [
        *standard.ThrottledRetryableChecker._THROTTLED_ERROR_CODES,
        *standard.TransientRetryableChecker._TRANSIENT_ERROR_CODES,
    ]

    assert {MEANINGS[service][code].verdict for code in codes} == {Verdict.AGAIN}


@pytest.mark.parametrize(("service", "code", "status"), errors_of_our_calls())
def test_what_the_model_calls_a_fault_of_the_service_does_not_end_as_a_mistake_of_ours(
    service, code, status
):
    assert status < 500 or MEANINGS[service][code].verdict is not Verdict.GIVE_UP


@pytest.mark.parametrize(
    ("error", "advice", "verdict"),
    [
        (errors.Throttled, "", Verdict.AGAIN),
        (errors.LimitReached, "", Verdict.AGAIN),
        (errors.AlreadyDone, "", Verdict.DONE),
        (errors.SourceGone, "", Verdict.GIVE_UP),
        (errors.KeyDenied, "Enable the key.", Verdict.PERSON),
    ],
)
def test_the_verdict_is_read_off_the_class_and_the_advice(error, advice, verdict):
    assert Meaning(error, advice=advice).verdict is verdict


@pytest.mark.parametrize(
    ("service", "error", "codes"),
    [
        ("ec2", errors.Throttled, "RequestLimitExceeded Throttling"),
        (
            "ec2",
            errors.LimitReached,
            "SnapshotCreationPerVolumeRateExceeded ConcurrentSnapshotLimitExceeded IncorrectState",
        ),
        ("ec2", errors.Unavailable, "InternalError InternalFailure ServiceUnavailable Unavailable"),
        ("ec2", errors.AccessDenied, "UnauthorizedOperation"),
        ("ec2", errors.RegionNotEnabled, "AuthFailure OptInRequired InvalidClientTokenId"),
        ("ec2", errors.SourceGone, "InvalidInstanceID.NotFound InvalidVolume.NotFound"),
        ("ec2", errors.KeyDenied, "InvalidKMSKey.InvalidState InvalidKMSKeyId.Malformed"),
        ("ec2", errors.CallRefused, "SnapshotLimitExceeded InvalidParameterValue"),
        ("ec2", errors.InUse, "InvalidSnapshot.InUse"),
        ("ec2", errors.AlreadyDone, "InvalidSnapshot.NotFound"),
        ("ec2", errors.LimitReached, "InsufficientInstanceCapacity Server.InsufficientCapacity"),
        ("ec2", errors.CallRefused, "VcpuLimitExceeded InvalidSubnetID.NotFound"),
        ("ec2", errors.InUse, "VolumeInUse OperationNotPermitted"),
        ("dynamodb", errors.LedgerMissing, "ResourceNotFoundException"),
        ("dynamodb", errors.AccessDenied, "AccessDeniedException InvalidClientTokenId"),
        (
            "dynamodb",
            errors.Throttled,
            "ProvisionedThroughputExceededException TransactionConflictException "
            "TransactionInProgressException ReplicatedWriteConflictException",
        ),
        ("events", errors.Unavailable, "InternalException"),
        ("lambda", errors.Throttled, "TooManyRequestsException"),
        ("lambda", errors.CallRefused, "ResourceNotFoundException RecursiveInvocationException"),
        ("sns", errors.CallRefused, "NotFound"),
        ("sns", errors.KeyDenied, "KMSDisabled KMSAccessDenied"),
        ("sns", errors.Throttled, "KMSThrottling"),
        ("sqs", errors.Throttled, "RequestThrottled KMS.ThrottlingException"),
        ("sqs", errors.KeyDenied, "KMS.DisabledException KMS.OptInRequired KmsNotFound"),
        ("sqs", errors.CallRefused, "AWS.SimpleQueueService.NonExistentQueue"),
        ("ssm", errors.UnknownPolicy, "ParameterNotFound"),
        ("ssm", errors.CallRefused, "InvalidInstanceId InvalidDocument"),
        ("stepfunctions", errors.AlreadyDone, "ExecutionAlreadyExists TaskTimedOut InvalidToken"),
        ("scheduler", errors.Unavailable, "ConflictException InternalServerException"),
        ("iam", errors.UnknownTarget, "NoSuchEntity"),
    ],
)
def test_each_code_has_the_class_that_says_what_to_do(service, error, codes):
    for code in codes.split():
        assert type(translate(service, an_error(code), "try it")) is error


def test_the_page_is_current():
    assert FILE.read_text() == page(), "run: .venv/bin/python -m tests.support.error_table --write"


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        *((service, one) for service, operations in CALLED.items() for one in operations),
        *(("ec2", one) for one in EC2_CALLED),
    ],
)
def test_each_error_as_it_is_sent_becomes_the_error_of_the_table(service, operation):
    sent = wire_errors(service, operation)

    for code, status in sent:
        error = translate(service, an_error(code, status=status), "try it")
        assert type(error) is MEANINGS[service][code.rsplit("Service.", 1)[-1]].error
    assert len(sent) >= len(modelled(service, operation)) + 30


def test_a_call_is_sent_no_error_that_belongs_to_another():
    def codes(operation):
        return {code for code, _ in wire_errors("ec2", operation)}

    assert "InvalidSnapshot.NotFound" in codes("DeleteSnapshot") - codes("CreateSnapshots")
    assert "SnapshotLimitExceeded" in codes("CreateSnapshot") & codes("CreateSnapshots")
    assert "SnapshotLimitExceeded" not in codes("DescribeVolumes") | codes("DeleteSnapshot")


@pytest.mark.parametrize(
    ("code", "after"),
    [
        ("RequestLimitExceeded", SOON),
        ("InternalError", SOON),
        ("SnapshotCreationPerVolumeRateExceeded", SPACING),
        ("ConcurrentSnapshotLimitExceeded", PENDING),
    ],
)
def test_what_may_work_later_says_how_long_to_wait(code, after):
    assert of_ec2(code).after == after


def test_the_spacing_of_snapshots_is_waited_for_and_not_less():
    assert timedelta(seconds=15) < SPACING < PENDING


@pytest.mark.parametrize(
    ("service", "code", "advice"),
    [
        ("ec2", "UnauthorizedOperation", "Redeploy the stack"),
        ("ec2", "AuthFailure", "Enable the Region"),
        ("sqs", "KMS.DisabledException", "Enable the KMS key"),
        ("ec2", "SnapshotLimitExceeded", "raise the quota"),
        ("ec2", "InvalidSnapshot.InUse", "Deregister the AMI"),
        ("ec2", "VcpuLimitExceeded", "raise the quota"),
        ("ec2", "InsufficientFreeAddressesInSubnet", "Free addresses of the subnet"),
        ("ec2", "InvalidIPAddress.InUse", "another private_ip"),
        ("ssm", "InvalidInstanceId", "Let the SSM agent run"),
        ("dynamodb", "ResourceNotFoundException", "Deploy the stack that holds the table"),
    ],
)
def test_what_a_person_can_change_is_said_in_the_message(service, code, advice):
    message = str(translate(service, an_error(code, "It is so."), "try it"))

    assert message.startswith(f"try it: {code}: It is so. ")
    assert advice in message
    assert ".." not in message


def test_without_advice_the_message_is_what_was_tried_and_what_aws_said():
    assert str(meaning_of("RequestLimitExceeded", "slow down")) == (
        "try it: RequestLimitExceeded: slow down"
    )
    assert str(meaning_of("RequestLimitExceeded", "")) == (
        "try it: RequestLimitExceeded: no message"
    )


@pytest.mark.parametrize("code", ["SomethingNew", ""])
def test_an_unknown_code_is_a_lasting_refusal_and_shown(code):
    error = meaning_of(code, "a new rule")

    assert type(error) is errors.CallRefused
    assert str(error) == f"try it: {code}: a new rule"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_unknown_code_of_a_fault_at_aws_may_pass(status):
    assert type(meaning_of("SomethingNew", status=status)) is errors.Unavailable


def test_an_unknown_code_that_says_too_many_requests_is_throttling():
    assert type(meaning_of("SomethingNew", status=429)) is errors.Throttled


@pytest.mark.parametrize("service", ["events", "ssm", "sqs", "lambda"])
def test_only_a_call_to_the_ledger_can_miss_the_ledger(service):
    error = translate(service, an_error("ResourceNotFoundException"), "try it")

    assert type(error) is errors.CallRefused
    assert "table" not in str(error)


@pytest.mark.parametrize(
    ("code", "message", "error"),
    [
        ("AccessDeniedException", "User x is not authorized to perform: kms:Decrypt", "KeyDenied"),
        ("AccessDenied", "... kms:GenerateDataKey on resource ...", "KeyDenied"),
        ("AccessDeniedException", "User x is not authorized to perform: dynamodb:GetItem", None),
        ("AccessDeniedException", "KMS key access denied error", "KeyDenied"),
        ("ThrottlingException", "kms:Decrypt is called too often", "Throttled"),
    ],
)
def test_a_denial_that_is_about_the_key_is_told_as_such(code, message, error):
    assert type(meaning_of(code, message)).__name__ == (error or "AccessDenied")


@pytest.mark.parametrize(
    "code",
    [
        "com.amazonaws.dynamodb.v20120810#ThrottlingException",
        "ThrottlingException",
        "AWS.SimpleQueueService.RequestThrottled",
    ],
)
def test_a_code_is_found_with_and_without_its_services_name(code):
    assert type(meaning_of(code)) is errors.Throttled


# -- what botocore raises ---------------------------------------------------------------------


def raised_for(error):
    with pytest.raises(errors.LastgoodError) as caught, translated("dynamodb", "try it"):
        raise error
    assert caught.value.__cause__ is error
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        botocore_errors.EndpointConnectionError(endpoint_url=URL),
        botocore_errors.ConnectTimeoutError(endpoint_url=URL),
        botocore_errors.ProxyConnectionError(proxy_url=URL, error="refused"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_without_a_connection_the_call_had_no_effect(error):
    raised = raised_for(error)

    assert type(raised) is errors.Unavailable
    assert not raised.effect_unknown
    assert raised.after == SOON
    assert str(raised).startswith("try it: ")


@pytest.mark.parametrize(
    "error",
    [
        botocore_errors.ReadTimeoutError(endpoint_url=URL),
        botocore_errors.ConnectionClosedError(endpoint_url=URL),
        botocore_errors.ResponseStreamingError(error="cut"),
        botocore_errors.HTTPClientError(error="cut"),
        # urllib3 raises it for the handshake, and just as well while it reads the reply
        botocore_errors.SSLError(endpoint_url=URL, error="bad record"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_when_the_request_may_have_gone_out_the_effect_is_unknown(error):
    raised = raised_for(error)

    assert type(raised) is errors.Unavailable
    assert raised.effect_unknown


def test_every_way_in_which_botocores_transport_fails_is_translated():
    kinds = (botocore_errors.ConnectionError, botocore_errors.HTTPClientError)
    ways = [
        one
        for one in vars(botocore_errors).values()
        if isinstance(one, type) and issubclass(one, kinds)
    ]

    for way in ways:
        error = way(endpoint_url=URL, proxy_url=URL, error="x")
        assert type(raised_for(error)) is errors.Unavailable


@pytest.mark.parametrize("code", ["InternalError", "InternalServerError", "ServiceUnavailable"])
def test_a_fault_at_aws_leaves_the_effect_unknown(code):
    assert raised_for(an_error(code)).effect_unknown


@pytest.mark.parametrize("code", ["RequestExpired", "ExpiredTokenException"])
def test_what_came_too_late_had_no_effect_and_is_tried_again(code):
    error = raised_for(an_error(code))

    assert type(error) is errors.Unavailable
    assert not error.effect_unknown


def test_what_is_no_error_of_aws_passes_as_it_is():
    with pytest.raises(ZeroDivisionError), translated("dynamodb", "try it"):
        raise ZeroDivisionError


def test_an_error_of_ours_passes_as_it_is():
    error = errors.Conflict("held")

    with pytest.raises(errors.Conflict) as caught, translated("dynamodb", "try it"):
        raise error

    assert caught.value is error
