"""What a call needs: the IAM actions, resources and condition keys of each operation that is used.

Source: the actions, resources and condition keys of each service in the Service Authorization
Reference.
"""

import re
from collections.abc import Callable
from itertools import product
from typing import Any

from moto.dynamodb.models import dynamodb_backends
from moto.ec2.exceptions import InvalidInstanceIdError
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends

from tests.cloud.backbone import PARTITION
from tests.cloud.buckets import bucket_of, object_of, owner_of
from tests.cloud.ec2.copies import changed_users
from tests.cloud.keys import secret_of
from tests.cloud.policy import Context, Need, NotTaught
from tests.cloud.states.execution import machine_of, read_token
from tests.cloud.wire import Call

Parameters = dict[str, Any]


def needs(call: Call, account: str) -> list[Need]:
    """The permissions of ``call``; all of them must be granted.

    Raises:
        NotTaught: nobody said yet what this operation needs.
    """
    taught = BY_SERVICE.get(call.service)
    if taught is None:
        raise NotTaught(f"what {call.service}:{call.operation} needs (tests/cloud/actions.py)")
    return taught(call, account)


def _here(call: Call, account: str, service: str | None = None) -> str:
    return f"arn:aws:{service or call.service}:{call.region}:{account}:"


def _arn_or(prefix: str, name: str) -> str:
    return name if name.startswith("arn:") else prefix + name


def _request_tags(pairs: list[dict[str, str]]) -> dict[str, str | list[str]]:
    if not pairs:
        return {}
    values: dict[str, str | list[str]] = {f"aws:RequestTag/{t['Key']}": t["Value"] for t in pairs}
    return values | {"aws:TagKeys": [t["Key"] for t in pairs]}


# ------------------------------------------------------------------------------ EC2

EC2_KINDS = {
    "i": "instance",
    "vol": "volume",
    "snap": "snapshot",
    "ami": "image",
    "eni": "network-interface",
    "sg": "security-group",
    "subnet": "subnet",
    "replacevol": "replace-root-volume-task",
}
OWNERLESS = {"snapshot", "image"}
"""Kinds that have no account in their ARN."""


def _ec2_arn(call: Call, account: str, resource_id: str) -> str:
    kind = EC2_KINDS.get(resource_id.split("-", 1)[0])
    if kind is None:
        raise NotTaught(f"the ARN of {resource_id}")
    return _of_kind(call, account, kind, resource_id)


def _of_kind(call: Call, account: str, kind: str, name: str = "*") -> str:
    owner = "" if kind in OWNERLESS else account
    return f"arn:aws:ec2:{call.region}:{owner}:{kind}/{name}"


def _resource_tags(call: Call, account: str, resource_id: str) -> Context:
    tags = ec2_backends[account][call.region].tags.get(resource_id, {})
    return {f"{prefix}:ResourceTag/{k}": v for k, v in tags.items() for prefix in ("aws", "ec2")}


def _on(call: Call, account: str, *resource_ids: str, action: str | None = None) -> list[Need]:
    return [
        Need(
            f"ec2:{action or call.operation}",
            _ec2_arn(call, account, resource_id),
            _resource_tags(call, account, resource_id),
        )
        for resource_id in resource_ids
    ]


def _new(call: Call, account: str, kind: str, *contexts: Context) -> list[Need]:
    """What is made of a kind, once for each context, with its tags in the call; the right to tag
    it comes on top."""
    specifications = [
        one for one in call.parameters.get("TagSpecifications", []) if one["ResourceType"] == kind
    ]
    tags = _request_tags([t for s in specifications for t in s.get("Tags", [])])
    arn = _of_kind(call, account, kind)
    created = [Need(f"ec2:{call.operation}", arn, {**tags, **one}) for one in contexts or ({},)]
    if tags:
        created.append(Need("ec2:CreateTags", arn, {**tags, "ec2:CreateAction": call.operation}))
    return created


def _parent(call: Call, ebs: Parameters) -> Context:
    """Of a volume that is made of a snapshot."""
    source = ebs.get("SnapshotId")
    return {"ec2:ParentSnapshot": _ec2_arn(call, "", source)} if source else {}


def _launch(call: Call, account: str) -> list[Need]:
    """Source: Service Authorization Reference, RunInstances, its required resource types and those
    of its optional ones that the call names; IAM User Guide, "Grant a user permissions to pass a
    role to an AWS service". The rights to the subnet and groups of nowhere are those of any."""
    given = call.parameters
    interfaces = given.get("NetworkInterfaces", [])
    devices = [one.get("Ebs", {}) for one in given.get("BlockDeviceMappings", [])]
    subnets = [one.get("SubnetId") for one in (given, *interfaces) if one.get("SubnetId")]
    groups = [
        *given.get("SecurityGroupIds", []),
        *(g for i in interfaces for g in i.get("Groups", [])),
    ]
    held = [one["NetworkInterfaceId"] for one in interfaces if one.get("NetworkInterfaceId")]
    placement = given.get("Placement", {})
    kind = {"ec2:InstanceType": given["InstanceType"]} if given.get("InstanceType") else {}
    required = [
        *_on(call, account, given["ImageId"]),
        *_new(call, account, "instance", kind),
        *_new(call, account, "volume", *(_parent(call, ebs) for ebs in devices)),
        *_on(call, account, *dict.fromkeys(held)),
        *(
            _on(call, account, *dict.fromkeys(subnets))
            or [Need("ec2:RunInstances", _of_kind(call, account, "subnet"))]
        ),
        *(
            _on(call, account, *dict.fromkeys(groups))
            or [Need("ec2:RunInstances", _of_kind(call, account, "security-group"))]
        ),
        *_on(call, account, *dict.fromkeys(e["SnapshotId"] for e in devices if "SnapshotId" in e)),
    ]
    if len(held) < max(1, len(interfaces)):
        required += _new(call, account, "network-interface")
    for name, what in (
        (given.get("KeyName"), "key-pair"),
        (placement.get("GroupName"), "placement-group"),
        (placement.get("HostId"), "dedicated-host"),
    ):
        if name:
            required.append(Need("ec2:RunInstances", _of_kind(call, account, what, name)))
    required += [
        Need("ec2:RunInstances", one["LicenseConfigurationArn"])
        for one in given.get("LicenseSpecifications", [])
    ]
    target = given.get("CapacityReservationSpecification", {}).get("CapacityReservationTarget", {})
    if reservation := target.get("CapacityReservationId"):
        arn = _of_kind(call, account, "capacity-reservation", reservation)
        required.append(Need("ec2:RunInstances", arn))
    return required + _passed(account, given.get("IamInstanceProfile") or {})


def _passed(account: str, profile: Parameters) -> list[Need]:
    """The role of the profile; none of a profile that is not there: the call will say so."""
    name = profile.get("Name") or str(profile.get("Arn", "")).rsplit("/", 1)[-1]
    found = iam_backends[account][PARTITION].instance_profiles
    context = {"iam:PassedToService": "ec2.amazonaws.com"}
    return [
        Need("iam:PassRole", role.arn, context)
        for one in found.values()
        if one.name == name
        for role in one.roles
    ]


def _volumes_of(call: Call, account: str, instance_id: str) -> list[str]:
    """None of an instance that is gone: the call itself will say so."""
    try:
        instance = ec2_backends[account][call.region].get_instance(instance_id)
    except InvalidInstanceIdError:
        return []
    return [device.volume_id for device in instance.block_device_mapping.values()]


def _sharing(call: Call, account: str) -> list[Need]:
    """One need for each account that is added or removed, so that a policy must let in them all."""
    (on,) = _on(call, account, call.parameters["SnapshotId"])
    changed = changed_users(call.parameters)
    pairs = product(sorted(changed["Add"]) or [""], sorted(changed["Remove"]) or [""])
    return [
        Need(
            on.action,
            on.resource,
            {
                **on.context,
                **({"ec2:Add/userId": added} if added else {}),
                **({"ec2:Remove/userId": removed} if removed else {}),
            },
        )
        for added, removed in pairs
    ]


# The parameters that name what a call acts on, and the kinds of what it makes.
ACTING = {
    "AttachVolume": ("InstanceId", "VolumeId"),
    "DeleteNetworkInterface": ("NetworkInterfaceId",),
    "DeleteSnapshot": ("SnapshotId",),
    "DeleteVolume": ("VolumeId",),
    "DeregisterImage": ("ImageId",),
    "DescribeInstanceAttribute": ("InstanceId",),
    "DescribeSnapshotAttribute": ("SnapshotId",),
    "DetachVolume": ("InstanceId", "VolumeId"),
    "GetLaunchTemplateData": ("InstanceId",),
    "ModifyInstanceAttribute": ("InstanceId",),
    "ModifyNetworkInterfaceAttribute": ("NetworkInterfaceId",),
    "StartInstances": ("InstanceIds",),
    "StopInstances": ("InstanceIds",),
    "TerminateInstances": ("InstanceIds",),
}
MAKING = {
    "CreateReplaceRootVolumeTask": (
        ("InstanceId", "SnapshotId"),
        ("replace-root-volume-task", "volume"),
    ),
    "CreateSnapshot": (("VolumeId",), ("snapshot",)),
}


AT_LENGTH = {"ModifySnapshotAttribute": _sharing, "RunInstances": _launch}


def _named(given: Parameters, names: tuple[str, ...]) -> list[str]:
    values = [given[name] for name in names if given.get(name)]
    return [one for value in values for one in (value if isinstance(value, list) else [value])]


def _ec2(call: Call, account: str) -> list[Need]:
    given = call.parameters
    if call.operation in ACTING:
        return _on(call, account, *_named(given, ACTING[call.operation]))
    if call.operation in MAKING:
        names, kinds = MAKING[call.operation]
        made = [need for kind in kinds for need in _new(call, account, kind)]
        return [*_on(call, account, *_named(given, names)), *made]
    if call.operation in AT_LENGTH:
        return AT_LENGTH[call.operation](call, account)
    match call.operation:
        case operation if operation.startswith("Describe"):
            return [Need(f"ec2:{operation}")]
        case "CreateSnapshots":
            instance = given["InstanceSpecification"]["InstanceId"]
            volumes = _volumes_of(call, account, instance)
            return [*_on(call, account, instance, *volumes), *_new(call, account, "snapshot")]
        case "CopySnapshot":
            where, source = given["SourceRegion"], given["SourceSnapshotId"]
            # None of a snapshot that another account shares: who may use it does not see its tags.
            tags = ec2_backends[account][where].tags.get(source, {})
            bears = {f"aws:ResourceTag/{key}": value for key, value in tags.items()}
            arn = f"arn:aws:ec2:{where}::snapshot/{source}"
            return [Need("ec2:CopySnapshot", arn, bears), *_new(call, account, "snapshot")]
        case "CreateVolume":
            made = _new(call, account, "volume", _parent(call, given))
            return [*_on(call, account, *_named(given, ("SnapshotId",))), *made]
        case "RegisterImage":
            devices = [one.get("Ebs", {}) for one in given.get("BlockDeviceMappings", [])]
            sources = [ebs["SnapshotId"] for ebs in devices if "SnapshotId" in ebs]
            return [*_on(call, account, *sources), *_new(call, account, "image")]
        case "CreateTags" | "DeleteTags":
            tags = _request_tags([{"Value": "", **t} for t in given.get("Tags", [])])
            return [
                Need(need.action, need.resource, {**need.context, **tags})
                for need in _on(call, account, *given["Resources"])
            ]
        case operation:
            raise NotTaught(f"what ec2:{operation} needs (tests/cloud/actions.py)")


# -------------------------------------------------------------------------- others


# The permission behind each kind of entry in a transaction.
TRANSACTED = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
    "Get": "GetItem",
}
PARTITION_KEY_CONDITION = re.compile(r"(#?\w+)\s*=\s*(:\w+)")


def _dynamodb(call: Call, account: str) -> list[Need]:
    """None on a table that is gone, whose keys nobody knows: the call itself will say so."""
    given = call.parameters
    known = dynamodb_backends[account][call.region].tables
    if not all(name.rsplit("/", 1)[-1] in known for name in _tables(given)):
        return []
    if "TransactItems" in given:
        return [
            _on_items(call, account, TRANSACTED[kind], item["TableName"], [item])
            for entry in given["TransactItems"]
            for kind, item in entry.items()
        ]
    if "RequestItems" in given:
        return [
            _on_items(call, account, call.operation, table, _batched(request))
            for table, request in given["RequestItems"].items()
        ]
    return [_on_items(call, account, call.operation, given["TableName"], [given])]


def _tables(given: Parameters) -> list[str]:
    entries = [one for entry in given.get("TransactItems", []) for one in entry.values()]
    return [
        *given.get("RequestItems", []),
        *(one["TableName"] for one in (given, *entries) if "TableName" in one),
    ]


def _batched(request: Any) -> list[Parameters]:
    """The keys of a BatchGetItem, or the requests of a BatchWriteItem, of one table."""
    if isinstance(request, dict):
        return [{"Key": key} for key in request["Keys"]]
    return [one for write in request for one in write.values()]


def _on_items(call: Call, account: str, action: str, table: str, touched: list[Parameters]) -> Need:
    """With the condition key dynamodb:LeadingKeys: the partition keys that the call touches.

    Source: DynamoDB Developer Guide, "Using IAM policy conditions for fine-grained access control".
    A Scan has none, so that ForAllValues holds for it: the guide warns of that.
    """
    arn = _arn_or(f"{_here(call, account)}table/", table)
    index = call.parameters.get("IndexName")
    keys = _leading_keys(call, account, arn.rsplit("/", 1)[-1], index, touched)
    resource = f"{arn}/index/{index}" if index else arn
    return Need(f"dynamodb:{action}", resource, {"dynamodb:LeadingKeys": keys} if keys else {})


def _leading_keys(
    call: Call, account: str, table: str, index: str | None, touched: list[Parameters]
) -> list[str]:
    found = dynamodb_backends[account][call.region].tables[table]
    schema = found.schema
    if index is not None:
        indexes = [*found.global_indexes, *found.indexes]
        schema = next((each.schema for each in indexes if each.name == index), schema)
    name = next(key["AttributeName"] for key in schema if key["KeyType"] == "HASH")
    if call.operation == "Query":
        return [_queried(call.parameters, name)]
    items = [one.get("Key") or one.get("Item") or {} for one in touched]
    return [str(value) for item in items for value in item.get(name, {}).values()]


def _queried(given: Parameters, name: str) -> str:
    aliases = given.get("ExpressionAttributeNames", {})
    for alias, placeholder in PARTITION_KEY_CONDITION.findall(
        given.get("KeyConditionExpression", "")
    ):
        if aliases.get(alias, alias) == name:
            (value,) = given["ExpressionAttributeValues"][placeholder].values()
            return str(value)
    raise NotTaught(f"the partition key in the key condition of {given}")


def _sqs(call: Call, account: str) -> list[Need]:
    singular = call.operation.removesuffix("Batch")
    if call.operation == "GetQueueUrl":
        return [Need("sqs:GetQueueUrl", _here(call, account) + call.parameters["QueueName"])]
    *_, owner, queue = call.parameters["QueueUrl"].split("/")
    return [Need(f"sqs:{singular}", f"arn:aws:sqs:{call.region}:{owner}:{queue}")]


def _sns(call: Call, account: str) -> list[Need]:
    topic = call.parameters.get("TopicArn") or call.parameters["TargetArn"]
    return [Need(f"sns:{call.operation.removesuffix('Batch')}", topic)]


def _lambda(call: Call, account: str) -> list[Need]:
    action = "InvokeFunction" if call.operation == "Invoke" else call.operation
    name = call.parameters["FunctionName"]
    qualifier = f":{call.parameters['Qualifier']}" if "Qualifier" in call.parameters else ""
    return [Need(f"lambda:{action}", _arn_or(f"{_here(call, account)}function:", name) + qualifier)]


def _events(call: Call, account: str) -> list[Need]:
    if call.operation != "PutEvents":
        raise NotTaught(f"what events:{call.operation} needs (tests/cloud/actions.py)")
    here = f"{_here(call, account)}event-bus/"
    return [
        Need(
            "events:PutEvents",
            _arn_or(here, entry.get("EventBusName", "default")),
            {
                "events:source": entry.get("Source", ""),
                "events:detail-type": entry.get("DetailType", ""),
            },
        )
        for entry in call.parameters["Entries"]
    ]


def _scheduler(call: Call, account: str) -> list[Need]:
    group = call.parameters.get("GroupName", "default")
    schedule = f"{_here(call, account)}schedule/{group}/{call.parameters['Name']}"
    required = [Need(f"scheduler:{call.operation}", schedule)]
    if call.operation in ("CreateSchedule", "UpdateSchedule"):
        passed = {"iam:PassedToService": "scheduler.amazonaws.com"}
        required.append(Need("iam:PassRole", call.parameters["Target"]["RoleArn"], passed))
    return required


def _stepfunctions(call: Call, account: str) -> list[Need]:
    given = call.parameters
    match call.operation:
        case "StartExecution" | "DescribeStateMachine" | "ListExecutions":
            resource = given["stateMachineArn"]
        case "DescribeExecution" | "StopExecution" | "GetExecutionHistory" | "RedriveExecution":
            resource = given["executionArn"]
        case "SendTaskSuccess" | "SendTaskFailure" | "SendTaskHeartbeat":
            read = read_token(given["taskToken"])
            resource = machine_of(read[0]) if read else "*"
        case "ListStateMachines":
            resource = "*"
        case operation:
            raise NotTaught(f"what states:{operation} needs (tests/cloud/actions.py)")
    return [Need(f"states:{call.operation}", resource)]


def _logs(call: Call, account: str) -> list[Need]:
    group = f"{_here(call, account)}log-group:{call.parameters['logGroupName']}"
    stream = call.parameters.get("logStreamName", "")
    suffix = f":log-stream:{stream}" if call.operation == "PutLogEvents" else ":*"
    return [Need(f"logs:{call.operation}", group + suffix)]


def _ssm(call: Call, account: str) -> list[Need]:
    given = call.parameters
    match call.operation:
        case "SendCommand":
            return _command(call, account)
        case "GetCommandInvocation" | "CancelCommand" | "DescribeInstanceInformation":
            return [Need(f"ssm:{call.operation}")]
    names = given.get("Names") or [given.get("Name") or given["Path"]]
    here = f"{_here(call, account)}parameter/"
    return [Need(f"ssm:{call.operation}", _arn_or(here, name.lstrip("/"))) for name in names]


def _command(call: Call, account: str) -> list[Need]:
    """On the document, which has no account if it is Amazon's, and on each instance.

    Source: Systems Manager User Guide, "Restricting Run Command access based on tags": the
    condition key is ssm:resourceTag.
    """
    name = call.parameters["DocumentName"]
    owner = "" if name.startswith("AWS-") else account
    document = _arn_or(f"arn:aws:ssm:{call.region}:{owner}:document/", name)
    needed = [Need("ssm:SendCommand", document)]
    for instance in call.parameters.get("InstanceIds", []):
        bears = ec2_backends[account][call.region].tags.get(instance, {})
        tags: Context = {
            f"{prefix}/{key}": value
            for key, value in bears.items()
            for prefix in ("ssm:resourceTag", "aws:ResourceTag")
        }
        needed.append(Need("ssm:SendCommand", _ec2_arn(call, account, instance), tags))
    return needed


def _secretsmanager(call: Call, account: str) -> list[Need]:
    if call.operation == "GetRandomPassword":
        return [Need("secretsmanager:GetRandomPassword")]
    name = call.parameters["SecretId"]
    secret = secret_of(name, account, call.region)
    arn = secret.arn if secret else _arn_or(f"{_here(call, account)}secret:", name)
    return [Need(f"secretsmanager:{call.operation}", arn)]


def _s3(call: Call, account: str) -> list[Need]:
    actions = {
        "HeadObject": "GetObject",
        "HeadBucket": "ListBucket",
        "ListObjectsV2": "ListBucket",
        "ListObjects": "ListBucket",
        "GetBucketEncryption": "GetEncryptionConfiguration",
        "CreateMultipartUpload": "PutObject",
        "UploadPart": "PutObject",
        "CompleteMultipartUpload": "PutObject",
    }
    bucket = f"arn:aws:s3:::{call.parameters['Bucket']}"
    resource = f"{bucket}/{call.parameters['Key']}" if "Key" in call.parameters else bucket
    action = actions.get(call.operation, call.operation)
    needed = [(f"s3:{action}", resource)]
    # Source: S3 API, GetObject: who may not list a bucket does not learn what is not in it.
    if owner_of(call.parameters) not in (None, account):
        raise NotTaught(f"{bucket} from another account")
    here = bucket_of(call.parameters, account)
    if here and action == "GetObject" and not object_of(call.parameters, account):
        needed.append(("s3:ListBucket", bucket))
    return [Need(*one, {"aws:ResourceAccount": account}) for one in needed]


# Session policies, tags and a source identity are left out.
ASSUMING = {"RoleArn", "RoleSessionName", "DurationSeconds", "ExternalId"}


def _sts(call: Call, account: str) -> list[Need]:
    if call.operation == "GetCallerIdentity":
        return []  # needs no permission at all
    given = call.parameters
    if call.operation != "AssumeRole" or set(given) - ASSUMING:
        raise NotTaught(f"sts:{call.operation} with {sorted(given)}")
    context = {"sts:RoleSessionName": given["RoleSessionName"]}
    if "ExternalId" in given:
        context["sts:ExternalId"] = given["ExternalId"]
    return [Need("sts:AssumeRole", given["RoleArn"], context)]


def _kms(call: Call, account: str) -> list[Need]:
    key = _arn_or(f"{_here(call, account)}key/", call.parameters["KeyId"])
    return [Need(f"kms:{call.operation}", key)]


def _iam(call: Call, account: str) -> list[Need]:
    if call.operation != "GetInstanceProfile":
        raise NotTaught(f"what iam:{call.operation} needs (tests/cloud/actions.py)")
    name = call.parameters["InstanceProfileName"]
    return [Need("iam:GetInstanceProfile", f"arn:aws:iam::{account}:instance-profile/{name}")]


def _cloudformation(call: Call, account: str) -> list[Need]:
    name = call.parameters.get("StackName")
    stack = _arn_or(f"{_here(call, account)}stack/", f"{name}/*") if name else "*"
    required = [Need(f"cloudformation:{call.operation}", stack)]
    if role := call.parameters.get("RoleARN"):
        passed = {"iam:PassedToService": "cloudformation.amazonaws.com"}
        required.append(Need("iam:PassRole", role, passed))
    return required


def _cloudwatch(call: Call, account: str) -> list[Need]:
    namespace = call.parameters.get("Namespace", "")
    return [Need(f"cloudwatch:{call.operation}", "*", {"cloudwatch:namespace": namespace})]


def _service_quotas(call: Call, _: str) -> list[Need]:
    return [Need(f"servicequotas:{call.operation}", "*")]


BY_SERVICE: dict[str, Callable[[Call, str], list[Need]]] = {
    "cloudformation": _cloudformation,
    "cloudwatch": _cloudwatch,
    "dynamodb": _dynamodb,
    "ec2": _ec2,
    "events": _events,
    "iam": _iam,
    "kms": _kms,
    "lambda": _lambda,
    "logs": _logs,
    "s3": _s3,
    "scheduler": _scheduler,
    "secretsmanager": _secretsmanager,
    "service-quotas": _service_quotas,
    "sns": _sns,
    "sqs": _sqs,
    "ssm": _ssm,
    "stepfunctions": _stepfunctions,
    "sts": _sts,
}
