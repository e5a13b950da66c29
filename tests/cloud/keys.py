"""Customer-managed KMS keys: who may use one through SQS, SNS, S3, DynamoDB, CloudWatch Logs and
Secrets Manager.

Sources: "Key management" of the SQS Developer Guide (a producer needs kms:GenerateDataKey and
kms:Decrypt, a consumer kms:Decrypt), "DynamoDB encryption at rest" (the caller's own kms:Decrypt,
through kms:ViaService), "Encrypt log data in CloudWatch Logs using KMS" (the key policy names
logs.REGION.amazonaws.com), "Secret encryption and decryption in Secrets Manager".
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from moto.dynamodb.models import dynamodb_backends
from moto.ec2.models import ec2_backends
from moto.kms.models import kms_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from tests.cloud.backbone import Backbone, Operator, Principal, Role, Service
from tests.cloud.buckets import bucket_of, object_of
from tests.cloud.ec2 import master_keys
from tests.cloud.ec2.copies import is_managed, record, usable
from tests.cloud.ec2.images import registered
from tests.cloud.policy import Caller, Need, Verdict, judge, lets_in, owner_of, root_of
from tests.cloud.wire import Call, Refused

TO_READ = ("kms:Decrypt", "kms:DescribeKey", "kms:ReEncryptFrom")
TO_WRITE = (
    *("kms:CreateGrant", "kms:DescribeKey"),
    *("kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptTo"),
)
# Of a snapshot that another account shares. Source: EBS User Guide, "Share the KMS key used to
# encrypt a shared Amazon EBS snapshot", which lists the rights to generate data keys too.
TO_READ_SHARED = (*TO_READ, "kms:CreateGrant")
# Of a volume. Source: EBS User Guide, "Requirements for Amazon EBS encryption", permissions for
# users.
TO_MAKE = (
    *("kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey"),
    *("kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"),
)
TO_START = ("kms:CreateGrant",)
MAKING = {"RunInstances", "CreateVolume", "CreateReplaceRootVolumeTask"}
ENCRYPT = ("kms:GenerateDataKey", "kms:Decrypt")
DECRYPT = ("kms:Decrypt",)
IdentityVerdict = Callable[[Role, Need], Verdict]


@dataclass(frozen=True)
class Use:
    """A key that a call goes through, the KMS actions it takes, and the encryption context."""

    key_id: str
    actions: tuple[str, ...]
    context: dict[str, str]


def use_of(call: Call, account: str) -> Use | None:
    """The key behind the resource that ``call`` reads or writes, if it has one."""
    given, found = call.parameters, BY_OPERATION.get((call.service, call.operation))
    return found(given, account, call.region) if found else None


def _queue(actions: tuple[str, ...]) -> Callable[[Any, str, str], Use | None]:
    def used(given: Any, account: str, region: str) -> Use | None:
        queue = sqs_backends[account][region].queues.get(given["QueueUrl"].rsplit("/", 1)[-1])
        # moto sets the attributes of a queue by their names.
        key = queue.__dict__["kms_master_key_id"] if queue is not None else None
        return Use(key, actions, {"aws:sqs:arn": queue.queue_arn}) if queue and key else None

    return used


def _topic(given: Any, account: str, region: str) -> Use | None:
    topic = sns_backends[account][region].topics.get(given.get("TopicArn", ""))
    if topic is None or not topic.kms_master_key_id:
        return None
    return Use(topic.kms_master_key_id, ENCRYPT, {"aws:sns:topicArn": topic.arn})


def _table(given: Any, account: str, region: str) -> Use | None:
    tables = dynamodb_backends[account][region].tables
    name = given.get("TableName") or next(iter(given.get("RequestItems", [])), None)
    for entry in given.get("TransactItems", []):
        name = next(iter(entry.values()))["TableName"]
    table = tables.get(str(name).rsplit("/", 1)[-1])
    if table is None or not (key := (table.sse_specification or {}).get("KMSMasterKeyId")):
        return None
    return Use(key, DECRYPT, {"aws:dynamodb:tableName": table.name})


# Source: "Using server-side encryption with AWS KMS keys" and "Reducing the cost of SSE-KMS with
# Amazon S3 Bucket Keys", S3 User Guide: an upload in one piece needs kms:GenerateDataKey, a
# download kms:Decrypt. The context is the object's ARN, or that of its bucket with a bucket key.


def _put_object(given: Any, account: str, region: str) -> Use | None:
    bucket = bucket_of(given, account)
    if bucket is None or not bucket.encryption:
        return None
    rule = bucket.encryption["Rule"]
    key = rule["ApplyServerSideEncryptionByDefault"].get("KMSMasterKeyID")
    return _object(given, key, rule.get("BucketKeyEnabled"), "kms:GenerateDataKey")


def _get_object(given: Any, account: str, region: str) -> Use | None:
    found = object_of(given, account)
    return _object(given, found.kms_key_id, found.bucket_key_enabled, *DECRYPT) if found else None


def _object(given: Any, key: str | None, bucket_key: Any, action: str) -> Use | None:
    bucket = f"arn:aws:s3:::{given['Bucket']}"
    arn = bucket if str(bucket_key).lower() == "true" else f"{bucket}/{given['Key']}"
    return Use(key, (action,), {"aws:s3:arn": arn}) if key else None


def _secret(actions: tuple[str, ...]) -> Callable[[Any, str, str], Use | None]:
    """The context has the version, too, which no policy of ours asks for."""

    def used(given: Any, account: str, region: str) -> Use | None:
        secret = secret_of(given["SecretId"], account, region)
        key = getattr(secret, "kms_key_id", None)
        return Use(key, actions, {"SecretARN": secret.arn}) if secret and key else None

    return used


def secret_of(secret_id: str, account: str, region: str) -> Any | None:
    """By name, ARN or ARN without its suffix."""
    try:
        return secretsmanager_backends[account][region].secrets[secret_id]
    except KeyError:
        return None


BY_OPERATION: dict[tuple[str, str], Callable[[Any, str, str], Use | None]] = {
    ("secretsmanager", "GetSecretValue"): _secret(DECRYPT),
    ("secretsmanager", "PutSecretValue"): _secret(ENCRYPT),
    ("sqs", "SendMessage"): _queue(ENCRYPT),
    ("sqs", "SendMessageBatch"): _queue(ENCRYPT),
    ("sqs", "ReceiveMessage"): _queue(DECRYPT),
    ("s3", "GetObject"): _get_object,
    ("s3", "PutObject"): _put_object,
    ("sns", "Publish"): _topic,
    ("sns", "PublishBatch"): _topic,
    **{
        ("dynamodb", operation): _table
        for operation in (
            *("GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "Scan"),
            *("BatchGetItem", "BatchWriteItem", "TransactGetItems", "TransactWriteItems"),
        )
    },
}

# How each service says that its key denies, is disabled, is being deleted, is gone: botocore's
# error shapes. DynamoDB has none for its data plane; a denied access is the nearest.
ERRORS = {
    "sqs": ("KmsAccessDenied", "KmsDisabled", "KmsInvalidState", "KmsNotFound"),
    "sns": ("KMSAccessDenied", "KMSDisabled", "KMSInvalidState", "KMSNotFound"),
    "dynamodb": ("AccessDeniedException",) * 4,
    # Its error for a denied key is in no model, but it is what callers see.
    "secretsmanager": ("AccessDeniedException", *("DecryptionFailure",) * 3),
    "s3": (
        *("AccessDenied", "KMS.DisabledException"),
        *("KMS.KMSInvalidStateException", "KMS.NotFoundException"),
    ),
    "ec2": ("Client.InvalidKmsKey",) * 4,
    "logs": ("AccessDeniedException", *("InvalidParameterException",) * 3),
}
DENIED, DISABLED, INVALID, MISSING = range(4)


def key_of(given: str, account: str, region: str) -> Any | None:
    """The key that an id, an ARN or an alias names; None if there is none.

    An ARN may be of another account.
    """
    backend = kms_backends[owner_of(given) or account][region]
    if "alias/" in given and not backend.alias_exists(given[given.index("alias/") :]):
        return None
    return backend.keys.get(backend.any_id_to_key_id(given))


class KeyRing:
    def __init__(self, backbone: Backbone, identity: IdentityVerdict) -> None:
        self._backbone = backbone
        self._identity = identity

    def check(self, principal: Principal, call: Call, account: str) -> None:
        """Raises Refused, in the words of the service, when the key cannot be used."""
        with self._backbone.lock:
            use = use_of(call, account)
            if use is not None:
                self.require(principal, use, call.service, account, call.region)
            if call.service == "ec2" and call.operation == "CopySnapshot":
                self._copied(principal, call, account)
            if call.service == "ec2" and call.operation in MAKING | {"StartInstances"}:
                self._attached(principal, call, account)
            if call.service == "logs" and call.operation in ("CreateLogGroup", "AssociateKmsKey"):
                self._log_group(call, account)

    def _copied(self, principal: Principal, call: Call, account: str) -> None:
        """Who copies a snapshot needs both keys; that he may not use one shows only in the copy.

        Source: EBS User Guide, "Permissions to use KMS keys when copying snapshots"; aws-facts 1.4.
        """
        given, here = call.parameters, ec2_backends[account][call.region]
        source = usable(account, given["SourceRegion"], given["SourceSnapshotId"])
        if source is None:
            return
        there, uses = source.ec2_backend, []
        if source.kms_key_id and not is_managed(there, source.kms_key_id):
            to_read = TO_READ if there.account_id == account else TO_READ_SHARED
            uses.append((Use(source.kms_key_id, to_read, {}), there))
        if given.get("KmsKeyId"):
            uses.append((Use(given["KmsKeyId"], TO_WRITE, {}), here))
        for use, where in uses:
            try:
                self.require(principal, use, "ec2", where.account_id, where.region_name)
            except Refused:
                record(here).denied.add(source.id)

    def _attached(self, principal: Principal, call: Call, account: str) -> None:
        """Who makes volumes, or starts instances, needs their keys; that he may not use one shows
        only in the volume or the instance, and so not in a dry run. Source: as that of TO_MAKE."""
        if call.parameters.get("DryRun"):
            return
        here = ec2_backends[account][call.region]
        refused = master_keys.denied(here)
        refused.clear()
        actions = TO_START if call.operation == "StartInstances" else TO_MAKE
        for keys in _keys_of(call, here):
            for key in {one for one in keys if not is_managed(here, one)}:
                try:
                    self.require(principal, Use(key, actions, {}), "ec2", account, call.region)
                except Refused:
                    # the key of the volume, whichever of its keys was refused
                    refused.add(master_keys.found(keys[-1], account, call.region)[0])

    def _log_group(self, call: Call, account: str) -> None:
        if key_id := call.parameters.get("kmsKeyId"):
            arn = (
                f"arn:aws:logs:{call.region}:{account}:log-group:{call.parameters['logGroupName']}"
            )
            use = Use(key_id, (*ENCRYPT, "kms:Encrypt"), {"aws:logs:arn": arn})
            writer = Service(f"logs.{call.region}.amazonaws.com", arn)
            self.require(writer, use, "logs", account, call.region)

    def require(
        self, principal: Principal, use: Use, service: str, account: str, region: str
    ) -> None:
        codes = ERRORS[service]
        if use.key_id.startswith("alias/aws/"):
            # Nobody can edit the policy of an AWS managed key, so no other service can be let in.
            if isinstance(principal, Service):
                raise Refused(codes[DENIED], f"{principal.name} may not use {use.key_id}")
            return
        key = key_of(use.key_id, account, region)
        if key is None:
            raise Refused(codes[MISSING], f"{use.key_id} does not exist in {region}")
        if key.key_state != "Enabled":
            code = codes[DISABLED if key.key_state == "Disabled" else INVALID]
            raise Refused(code, f"{key.arn} is {key.key_state}")
        foreign = owner_of(key.arn) != principal.account
        if isinstance(principal, Operator) and not foreign:
            return
        context = self._context(principal, use, service, account, region)
        for action in use.actions:
            need = Need(action, key.arn, context)
            verdict = self._verdict(principal, need, key.policy, foreign=foreign)
            note(self._backbone, principal, need, verdict)
            if verdict != "allowed":
                who = principal.name if isinstance(principal, Service) else principal.arn
                raise Refused(
                    codes[DENIED], f"{who} is not authorized to perform: {action} on {key.arn}"
                )

    @staticmethod
    def _context(
        principal: Principal, use: Use, service: str, account: str, region: str
    ) -> dict[str, str]:
        context = {f"kms:EncryptionContext:{key}": value for key, value in use.context.items()}
        if isinstance(principal, Service):
            context |= {"aws:SourceArn": principal.source_arn, "aws:SourceAccount": account}
        else:
            via = f"{service}.{region}.amazonaws.com"
            context |= {"kms:ViaService": via, "kms:CallerAccount": principal.account}
            context["aws:PrincipalArn"] = principal.arn
            if service == "ec2":
                context["kms:GrantIsForAWSResource"] = "true"
        return context

    def _verdict(
        self, principal: Principal, need: Need, key_policy: str, *, foreign: bool
    ) -> Verdict:
        # Inside a key policy "*" is the key itself.
        document = json.loads(key_policy)
        if isinstance(principal, Service):
            return judge([document], need, Caller(principal.account, service=principal.name))
        caller = Caller(principal.account, arn=principal.arn)
        own = self._identity(principal, need) if isinstance(principal, Role) else "allowed"
        if foreign:
            return lets_in([document], need, caller) if own == "allowed" else own
        direct = judge([document], need, caller)
        if "explicitDeny" in (direct, own):
            return "explicitDeny"
        root = root_of(principal.account)
        handed_over = judge([document], need, root) == "allowed" and own == "allowed"
        return "allowed" if direct == "allowed" or handed_over else "implicitDeny"


def _keys_of(call: Call, here: Any) -> list[list[str]]:
    """Of each volume that the call makes, or starts with: the key of what it is made of, if any,
    and last its own."""
    given, known = call.parameters, here.snapshots
    if call.operation == "StartInstances":
        keys = [
            volume.kms_key_id
            for volume in here.volumes.values()
            if not volume.by_instance.keys().isdisjoint(given["InstanceIds"])
        ]
        return [[key] for key in dict.fromkeys(keys) if key]
    wanted = [given] if call.operation != "RunInstances" else []
    wanted += [one.get("Ebs", {}) for one in given.get("BlockDeviceMappings", [])]
    wanted += [{"SnapshotId": one} for one in registered(here).get(given.get("ImageId"), ())]
    made = []
    for ebs in wanted:
        source = known.get(ebs.get("SnapshotId"))
        own = [source.kms_key_id] if source is not None and source.kms_key_id else []
        keys = [*own, *([ebs["KmsKeyId"]] if ebs.get("KmsKeyId") else [])]
        if keys and keys not in made:
            made.append(keys)
    return made


def note(backbone: Backbone, principal: Principal, need: Need, verdict: Verdict) -> None:
    """Nothing of administrators, who are asked about by other accounts only."""
    if isinstance(principal, Operator):
        return
    backbone.record.decisions.append(
        {
            "principal": principal.name,
            "account": principal.account,
            "source": principal.source_arn if isinstance(principal, Service) else None,
            "action": need.action,
            "resource": need.resource,
            "leading_keys": need.context.get("dynamodb:LeadingKeys", []),
            "allowed": verdict == "allowed",
            "verdict": verdict,
        }
    )
