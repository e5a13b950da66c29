"""Each error code of AWS has a meaning: its name here, when to try again, what can be changed."""

from datetime import timedelta
from typing import Any

import botocore.session
import pytest
from botocore import exceptions as botocore_errors
from botocore.exceptions import ClientError

from lastgood import errors
from lastgood.aws.faults import MEANINGS, PENDING, SOON, SPACING, translate, translated

URL = "https://ec2.eu-west-1.amazonaws.com/"

CALLED = {
    "dynamodb": ["GetItem", "PutItem", "Query", "TransactWriteItems", "UpdateItem"],
    "events": ["PutEvents"],
    "sqs": ["ChangeMessageVisibility", "SendMessage", "SendMessageBatch"],
    "ssm": ["GetParameter", "GetParametersByPath"],
}
"""The calls of the functions to services whose errors botocore has a list of. EC2 has none."""

EC2_CODES = {
    "AuthFailure",
    "ConcurrentSnapshotLimitExceeded",
    "InternalError",
    "InternalFailure",
    "InvalidInstanceID",
    "InvalidInstanceID.Malformed",
    "InvalidInstanceID.NotFound",
    "InvalidKMSKey.InvalidState",
    "InvalidKMSKeyId.Malformed",
    "InvalidParameterValue",
    "InvalidVolume.NotFound",
    "OptInRequired",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "SnapshotCreationPerVolumeRateExceeded",
    "SnapshotLimitExceeded",
    "UnauthorizedOperation",
    "Unavailable",
}
"""EC2 API Reference, "Error codes for the Amazon EC2 API"."""

COMMON_CODES = {
    "AccessDenied",
    "AccessDeniedException",
    "InternalFailure",
    "RequestThrottledException",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
""""Common errors" of the API references, and what botocore itself takes for throttling."""

SQS_WIRE_CODES = {
    "KmsAccessDenied": "KMS.AccessDeniedException",
    "KmsDisabled": "KMS.DisabledException",
    "KmsInvalidKeyUsage": "KMS.InvalidKeyUsageException",
    "KmsInvalidState": "KMS.InvalidStateException",
    "KmsNotFound": "KMS.NotFoundException",
    "KmsOptInRequired": "KMS.OptInRequired",
    "KmsThrottled": "KMS.ThrottlingException",
    "QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue",
}
"""SQS once spoke the query protocol. It still sends the codes of that time, in the header
``x-amzn-query-error``, and botocore prefers them to the names of its model."""

LASTING = {
    "BatchEntryIdsNotDistinct": "our ids are distinct",
    "BatchRequestTooLong": "our batches are not",
    "ConditionalCheckFailedException": "the ledger takes it for an answer",
    "EmptyBatchRequest": "we send none",
    "IdempotentParameterMismatchException": "no token is given",
    "InvalidAddress": "a mistake in the settings",
    "InvalidBatchEntryId": "our ids are numbers",
    "InvalidFilterKey": "no filter is given",
    "InvalidFilterOption": "no filter is given",
    "InvalidFilterValue": "no filter is given",
    "InvalidKeyId": "no parameter is encrypted",
    "InvalidMessageContents": "it stays as it is",
    "InvalidNextToken": "the token is SSM's own",
    "InvalidSecurity": "we speak TLS and sign",
    "ItemCollectionSizeLimitExceededException": "there is no local index",
    "KMS.InvalidKeyUsageException": "a person chose the wrong kind of key",
    "MessageNotInflight": "its time is over",
    "ParameterVersionNotFound": "no version is asked for",
    "AWS.SimpleQueueService.NonExistentQueue": "the stack is not whole",
    "ReceiptHandleIsInvalid": "its time is over",
    "ReplicatedWriteConflictException": "the table is in one Region",
    "TooManyEntriesInBatchRequest": "our batches are of ten",
    "TransactionCanceledException": "the ledger reads its reasons",
    "UnsupportedOperation": "it stays so",
}
"""Errors of those calls that are no mishap: trying again, or a word of advice, cannot help."""


def model(service: str) -> dict[str, Any]:
    loader = botocore.session.get_session().get_component("data_loader")
    return loader.load_service_model(service, "service-2")


def modelled(service: str) -> set[str]:
    """The names of all errors of a service, as its replies bear them."""
    shapes = model(service)["shapes"].items()
    return {one.get("error", {}).get("code", name) for name, one in shapes if one.get("exception")}


def errors_of_our_calls():
    """Service, code, and whether the service answers it with a status of 500."""
    found = set()
    for service, operations in CALLED.items():
        described = model(service)
        for operation in operations:
            for error in described["operations"][operation].get("errors", []):
                name = error["shape"]
                code = SQS_WIRE_CODES.get(name, name)
                found.add((service, code, described["shapes"][name].get("fault", False)))
    return sorted(found)


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


# -- the table --------------------------------------------------------------------------------

KNOWN = {
    *EC2_CODES,
    *COMMON_CODES,
    *SQS_WIRE_CODES.values(),
    *(code for service in CALLED for code in modelled(service)),
}


@pytest.mark.parametrize("code", MEANINGS)
def test_every_code_in_the_table_is_one_that_a_service_we_call_can_answer(code):
    assert code in KNOWN


@pytest.mark.parametrize(("service", "code", "fault"), errors_of_our_calls())
def test_every_error_of_a_call_that_we_make_has_a_meaning_or_is_known_to_last(service, code, fault):
    if code in LASTING:
        assert code not in MEANINGS
    else:
        error = meaning_of(code, status=500 if fault else 400)
        assert type(error) is not errors.CallRefused


@pytest.mark.parametrize(
    ("error", "codes"),
    [
        (
            errors.Throttled,
            [
                "RequestLimitExceeded",
                "RequestThrottled",
                "Throttling",
                "ThrottlingException",
                "TooManyRequestsException",
                "ProvisionedThroughputExceededException",
                "RequestThrottledException",
                "TransactionConflictException",
                "TransactionInProgressException",
                "KMS.ThrottlingException",
            ],
        ),
        (
            errors.LimitReached,
            ["SnapshotCreationPerVolumeRateExceeded", "ConcurrentSnapshotLimitExceeded"],
        ),
        (
            errors.Unavailable,
            [
                "InternalError",
                "InternalFailure",
                "InternalServerError",
                "ServiceUnavailable",
                "Unavailable",
            ],
        ),
        (errors.AccessDenied, ["UnauthorizedOperation", "AccessDenied", "AccessDeniedException"]),
        (errors.RegionNotEnabled, ["AuthFailure", "OptInRequired"]),
        (
            errors.SourceGone,
            ["InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed", "InvalidVolume.NotFound"],
        ),
        (
            errors.KeyDenied,
            [
                "KMS.AccessDeniedException",
                "KMS.DisabledException",
                "KMS.InvalidStateException",
                "KMS.NotFoundException",
                "KMS.OptInRequired",
                "InvalidKMSKey.InvalidState",
                "InvalidKMSKeyId.Malformed",
            ],
        ),
        (errors.LedgerMissing, ["ResourceNotFoundException"]),
        (errors.UnknownPolicy, ["ParameterNotFound"]),
        (errors.CallRefused, ["SnapshotLimitExceeded", "InvalidParameterValue"]),
    ],
)
def test_each_code_has_the_class_that_says_what_to_do(error, codes):
    for code in codes:
        assert type(meaning_of(code)) is error


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
    assert meaning_of(code).after == after


def test_the_spacing_of_snapshots_is_waited_for_and_not_less():
    assert timedelta(seconds=15) < SPACING < PENDING


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("UnauthorizedOperation", "Redeploy the stack"),
        ("AuthFailure", "Enable the Region"),
        ("KMS.DisabledException", "Enable the KMS key"),
        ("SnapshotLimitExceeded", "raise the quota"),
        ("ResourceNotFoundException", "Deploy the stack that holds the table"),
    ],
)
def test_what_a_person_can_change_is_said_in_the_message(code, advice):
    message = str(meaning_of(code, "It is so."))

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


def test_what_is_no_error_of_aws_passes_as_it_is():
    with pytest.raises(ZeroDivisionError), translated("dynamodb", "try it"):
        raise ZeroDivisionError


def test_an_error_of_ours_passes_as_it_is():
    error = errors.Conflict("held")

    with pytest.raises(errors.Conflict) as caught, translated("dynamodb", "try it"):
        raise error

    assert caught.value is error
