"""``docs/errors.md``, and every error of the table as AWS would send it.

``python -m tests.support.error_table --write`` writes the page anew.
"""

import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import botocore.session

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs/errors.md"

if __name__ == "__main__":
    # Under pytest the settings in pyproject.toml do this.
    sys.path.insert(0, str(ROOT / "functions/core/python"))

from lastgood import errors  # noqa: E402
from lastgood.aws.faults import COMMON, MEANINGS, Meaning, Verdict  # noqa: E402

CALLED = {
    # ConditionCheckItem is the right for a part of TransactWriteItems.
    "dynamodb": [
        "BatchGetItem",
        "DeleteItem",
        "GetItem",
        "PutItem",
        "Query",
        "TransactWriteItems",
        "UpdateItem",
    ],
    "events": ["PutEvents"],
    "iam": ["GetInstanceProfile"],
    "kms": ["DescribeKey"],
    "lambda": ["Invoke"],
    "s3": ["GetObject", "PutObject"],
    "scheduler": ["CreateSchedule", "DeleteSchedule", "UpdateSchedule"],
    "secretsmanager": ["GetSecretValue"],
    "service-quotas": ["ListServiceQuotas"],
    "sns": ["Publish"],
    "sqs": ["ChangeMessageVisibility", "SendMessage", "SendMessageBatch"],
    "ssm": [
        "DescribeInstanceInformation",
        "GetCommandInvocation",
        "GetParameter",
        "GetParametersByPath",
        "SendCommand",
    ],
    "stepfunctions": [
        "DescribeExecution",
        "ListExecutions",
        "SendTaskFailure",
        "SendTaskSuccess",
        "StartExecution",
    ],
    "sts": ["AssumeRole"],
}
"""The calls of the functions to services whose errors botocore has a list of. EC2 has none."""

EC2_CALLED = [
    "AttachVolume",
    "CopySnapshot",
    "CreateReplaceRootVolumeTask",
    "CreateSnapshot",
    "CreateSnapshots",
    "CreateTags",
    "CreateVolume",
    "DeleteSnapshot",
    "DeleteTags",
    "DeleteVolume",
    "DeregisterImage",
    "DescribeImages",
    "DescribeInstanceStatus",
    "DescribeInstanceTypeOfferings",
    "DescribeInstanceTypes",
    "DescribeInstances",
    "DescribeKeyPairs",
    "DescribeLockedSnapshots",
    "DescribeNetworkInterfaces",
    "DescribeReplaceRootVolumeTasks",
    "DescribeSecurityGroups",
    "DescribeSnapshotTierStatus",
    "DescribeSnapshots",
    "DescribeSubnets",
    "DescribeVolumes",
    "DetachVolume",
    "GetLaunchTemplateData",
    "ModifyInstanceAttribute",
    "ModifyNetworkInterfaceAttribute",
    "ModifySnapshotAttribute",
    "RegisterImage",
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
]

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

EC2_OPERATIONS = {
    "DeleteSnapshot": ["InvalidSnapshot", "InvalidSnapshotID", "OperationNotPermitted"],
    "CreateSnapshot": [
        "ConcurrentSnapshotLimitExceeded",
        "IncorrectState",
        "InvalidState",
        "PendingSnapshotLimitExceeded",
        "SnapshotCreationPerVolumeRateExceeded",
        "SnapshotLimitExceeded",
    ],
    "CreateSnapshots": ["IncorrectInstanceState", "InvalidInstanceState"],
    "Describe": ["FilterLimitExceeded", "InvalidFilter", "InvalidMaxResults", "InvalidNextToken"],
    "RunInstances": [
        "EncryptedVolumesNotSupported",
        "InstanceCreditSpecification.NotSupported",
        "InstanceLimitExceeded",
        "InsufficientCapacity",
        "InsufficientCapacityOnHost",
        "InsufficientFreeAddressesInSubnet",
        "InsufficientHostCapacity",
        "InsufficientInstanceCapacity",
        "InsufficientVolumeCapacity",
        "InvalidAMIID",
        "InvalidAvailabilityZone",
        "InvalidBlockDeviceMapping",
        "InvalidGroup",
        "InvalidGroupId",
        "InvalidHostConfiguration",
        "InvalidHostID",
        "InvalidHostState",
        "InvalidIPAddress",
        "InvalidInstanceType",
        "InvalidInterface",
        "InvalidKeyPair",
        "InvalidPlacementGroup",
        "InvalidSecurityGroupID",
        "InvalidSnapshot",
        "InvalidSubnet",
        "InvalidSubnetID",
        "InvalidTenancy",
        "InvalidUserData",
        "InvalidVpcID",
        "MaxIOPSLimitExceeded",
        "NetworkInterfaceLimitExceeded",
        "PrivateIpAddressLimitExceeded",
        "UnknownVolumeType",
        "UnsupportedHibernationConfiguration",
        "UnsupportedHostConfiguration",
        "UnsupportedTenancy",
        "VcpuLimitExceeded",
        "VolumeIOPSLimit",
        "VolumeLimitExceeded",
        "VolumeTypeNotAvailableInZone",
    ],
    "StartInstances": [
        "IncorrectInstanceState",
        "InsufficientCapacity",
        "InsufficientCapacityOnHost",
        "InsufficientHostCapacity",
        "InsufficientInstanceCapacity",
        "InstanceLimitExceeded",
        "VcpuLimitExceeded",
    ],
    "StopInstances": ["IncorrectInstanceState", "OperationNotPermitted"],
    "TerminateInstances": ["OperationNotPermitted"],
    "ModifyInstanceAttribute": [
        "IncorrectInstanceState",
        "InvalidInstanceAttributeValue",
        "OperationNotPermitted",
    ],
    "ModifyNetworkInterfaceAttribute": ["InvalidNetworkInterfaceID"],
    "RegisterImage": [
        "InvalidAMIAttributeItemValue",
        "InvalidAMIName",
        "InvalidBlockDeviceMapping",
        "InvalidSnapshot",
    ],
    "DeregisterImage": ["InvalidAMIID"],
    "CreateVolume": [
        "InsufficientVolumeCapacity",
        "InvalidAvailabilityZone",
        "InvalidSnapshot",
        "InvalidZone",
        "MaxIOPSLimitExceeded",
        "UnknownVolumeType",
        "VolumeIOPSLimit",
        "VolumeLimitExceeded",
        "VolumeTypeNotAvailableInZone",
    ],
    "AttachVolume": [
        "AttachmentLimitExceeded",
        "EncryptedVolumesNotSupported",
        "IncorrectInstanceState",
        "IncorrectState",
        "InvalidDevice",
        "InvalidVolume.ZoneMismatch",
        "VolumeInUse",
    ],
    "DetachVolume": [
        "IncorrectInstanceState",
        "IncorrectState",
        "InvalidAttachment",
        "OperationNotPermitted",
    ],
    "DeleteVolume": ["IncorrectState", "VolumeInUse"],
    "CreateReplaceRootVolumeTask": [
        "IncorrectInstanceState",
        "IncorrectState",
        "InvalidSnapshot",
        "VolumeLimitExceeded",
    ],
}
"""Beginnings of operations, and of codes that no other operation answers."""

STATUSES = {
    "AccessDenied": 403,
    "AuthFailure": 401,
    "BandwidthLimitExceeded": 503,
    "EC2ThrottledException": 503,
    "InsufficientCapacity": 500,
    "InsufficientHostCapacity": 500,
    "InsufficientInstanceCapacity": 500,
    "InsufficientVolumeCapacity": 500,
    "ExpiredToken": 403,
    "ExpiredTokenException": 403,
    "InvalidClientTokenId": 403,
    "MissingAuthenticationToken": 403,
    "OptInRequired": 403,
    "RequestLimitExceeded": 503,
    "RequestTimeout": 400,
    "RequestTimeoutException": 408,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
    "TooManyRequestsException": 429,
    "Unavailable": 503,
    "UnauthorizedOperation": 403,
}
"""Of codes without a model: "Common errors" of the API references, botocore's ``_retry``."""


class WireError(NamedTuple):
    """An error as it is sent: what a fault harness injects."""

    code: str
    status: int


class Modelled(NamedTuple):
    name: str
    code: str
    status: int


@cache
def model(service: str) -> dict[str, Any]:
    loader = botocore.session.get_session().get_component("data_loader")
    return loader.load_service_model(service, "service-2")


def modelled(service: str, operation: str) -> list[Modelled]:
    """The errors that botocore lists for an operation; none for those of EC2."""
    described = model(service)
    found = []
    for error in described["operations"][operation].get("errors", []):
        name = error["shape"]
        shape = described["shapes"][name]
        wire = shape.get("error", {})
        code = wire.get("code", name)
        if service == "sqs":
            code = SQS_WIRE_CODES.get(code, code)
        status = wire.get("httpStatusCode", 500 if shape.get("fault") else 400)
        found.append(Modelled(name, code, status))
    return found


def wire_errors(service: str, operation: str) -> list[WireError]:
    """Every error of the table that this call can get, in the order of codes.

    Of EC2 and of what all services share, the status is that of the API references.
    """
    own = {one.code: one.status for one in modelled(service, operation)}
    others = {
        code
        for other in CALLED.get(service, [])
        for one in modelled(service, other)
        for code in (one.code, one.name)
    }
    names = {code.removeprefix("AWS.SimpleQueueService.") for code in others | own.keys()}
    free = [
        code
        for code in MEANINGS[service]
        if code not in names and (service != "ec2" or _of_ec2(operation, code))
    ]
    return sorted(
        [WireError(code, status) for code, status in own.items()]
        + [WireError(code, _status(MEANINGS[service][code], code)) for code in free]
    )


def _of_ec2(operation: str, code: str) -> bool:
    """A code that belongs to certain operations belongs to no other."""
    owners = [
        owner
        for owner, codes in EC2_OPERATIONS.items()
        if any(code == one or code.startswith(f"{one}.") for one in codes)
    ]
    return not owners or any(operation.startswith(owner) for owner in owners)


def _status(meaning: Meaning, code: str) -> int:
    fault = meaning.error is errors.Unavailable and meaning.effect_unknown
    return STATUSES.get(code, 500 if fault else 400)


# -- the page ---------------------------------------------------------------------------------

DOES = {
    Verdict.AGAIN: "tries again",
    Verdict.GIVE_UP: "gives up",
    Verdict.DONE: "takes it as done already",
    Verdict.PERSON: "gives up; a person must act",
}

TOP = """\
# Errors of AWS

What Lastgood makes of each error that AWS can give to one of its calls.
This page is made from the table in `lastgood/aws/faults.py`, by
`python -m tests.support.error_table --write`.

- The name in brackets is the class of the error, which metrics, logs and dead letters bear. The
  tree is in `lastgood/errors.py`.
- *After* is the wait before the second delivery. It doubles with each delivery: see
  [architecture](architecture.md#errors).
- A person is told by the message of the dead letter or of the failed recovery point, which ends
  with the sentence of the last column.
- A code that is not here is taken for a lasting refusal (`CallRefused`), and shown. With a status
  of 5xx it is `Unavailable`, with 429 `Throttled`.
- A refusal (`AccessDenied`) whose message names KMS is `KeyDenied`: DynamoDB, SNS and SSM report a
  refusal of the key as their own.
- A lost connection is `Unavailable`. If the request had gone out, its effect is unknown, and is
  looked up before anything is created again.
- botocore itself tries up to five times what is throttled or answered with 500, 502, 503 or 504,
  before it comes to this table. Not so for `CreateSnapshot`, `CreateSnapshots` and `CopySnapshot`,
  for SSM's `SendCommand`, and for `Invoke` where its answer is waited for: these have no client
  token, and go out once.
- `ConditionalCheckFailedException` and `TransactionCanceledException` are answers that the ledger
  reads. They come to this table only by mistake.

Tests compare the table with botocore's models: each error listed there for a call of ours has its
place. EC2 has no such list; its codes are those of the EC2 API Reference, "Error codes", that our
calls can get.

| service | code | Lastgood | after | what a person does |
|---|---|---|---|---|
"""


def page() -> str:
    return TOP + "".join(f"| {' | '.join(row)} |\n" for row in _rows())


def _rows() -> Iterator[tuple[str, ...]]:
    yield from _rows_of("every", COMMON)
    for service, table in sorted(MEANINGS.items()):
        own = {code: one for code, one in table.items() if COMMON.get(code) is not one}
        yield from _rows_of(service, own)


def _rows_of(service: str, table: Mapping[str, Meaning]) -> Iterator[tuple[str, ...]]:
    """One row for the codes that mean the same, in the order of verdicts."""
    codes: dict[tuple[str, ...], list[str]] = {}
    verdicts = list(Verdict)
    for code, one in sorted(table.items(), key=lambda row: verdicts.index(row[1].verdict)):
        does = f"{DOES[one.verdict]} (`{one.error.__name__}`)"
        after = _duration(one.after) if one.verdict is Verdict.AGAIN else ""
        codes.setdefault((does, after, one.advice), []).append(f"`{code}`")
    for cells, alike in codes.items():
        yield service, ", ".join(sorted(alike)), *cells


def _duration(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"


def main() -> None:
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(page(), encoding="utf-8")
    else:
        print(page(), end="")


if __name__ == "__main__":
    main()
