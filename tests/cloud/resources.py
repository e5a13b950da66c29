"""The resource types of CloudFormation that the bundle uses, each made by the real API call.

The call goes through boto3 to the cloud itself, so that botocore's service model checks each name
and type. A property that nobody taught fails the resource, rather than being dropped.
Source: "AWS resource and property types reference" of the CloudFormation User Guide.
"""

import io
import json
import uuid
import zipfile
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from botocore.exceptions import ClientError

Properties = dict[str, Any]


class CannotMake(Exception):
    """A property or a change that this type does not model."""


@dataclass(frozen=True)
class Place:
    """Where a resource is made: its stack, logical id, account and Region."""

    stack: str
    logical_id: str
    account: str
    region: str
    client_for: Callable[[str, str], Any]

    def client(self, service: str) -> Any:
        return self.client_for(service, self.region)

    def name(self, longest: int = 64) -> str:
        """A physical name as CloudFormation makes one."""
        suffix = uuid.uuid4().hex[:12].upper()
        return f"{self.stack}-{self.logical_id}"[: longest - 13] + f"-{suffix}"


@dataclass(frozen=True)
class Made:
    physical_id: str
    attributes: dict[str, Any] = field(default_factory=dict)


class Kind:
    """One resource type. A property of ``fixed`` cannot change: the resource is replaced."""

    type: ClassVar[str]
    service: ClassVar[str]
    known: ClassVar[frozenset[str]]
    fixed: ClassVar[frozenset[str]] = frozenset()

    def check(self, given: Properties) -> None:
        if unknown := set(given) - self.known - self.fixed:
            raise CannotMake(f"properties that the test cloud was not taught: {sorted(unknown)}")

    def replaces(self, old: Properties, new: Properties) -> bool:
        return any(old.get(name) != new.get(name) for name in self.fixed)

    @abstractmethod
    def create(self, at: Place, given: Properties) -> Made: ...

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        changed = sorted(n for n in {*old, *new} if old.get(n) != new.get(n))
        raise CannotMake(f"a change of {changed} in place")

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        """Nothing to do for what goes away with its owner."""


KINDS: dict[str, Kind] = {}


def kind(taught: type[Kind]) -> type[Kind]:
    KINDS[taught.type] = taught()
    return taught


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def only(given: Properties, wanted: frozenset[str]) -> Properties:
    return {name: value for name, value in given.items() if name in wanted}


def without(given: Properties, *unwanted: str) -> Properties:
    return {name: value for name, value in given.items() if name not in unwanted}


def tags(given: Properties) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in given.get("Tags", [])}


def lower_first(value: Any) -> Any:
    """PascalCase keys as camelCase, for the APIs that use it."""
    if isinstance(value, dict):
        return {key[0].lower() + key[1:]: lower_first(item) for key, item in value.items()}
    return [lower_first(item) for item in value] if isinstance(value, list) else value


# -------------------------------------------------------------------------- nothing to make


@kind
class CdkMetadata(Kind):
    type, service = "AWS::CDK::Metadata", ""
    known = names("Analytics")

    def create(self, at: Place, given: Properties) -> Made:
        return Made(at.name())

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        return made


# --------------------------------------------------------------------------------- S3, ECR


@kind
class Bucket(Kind):
    type, service = "AWS::S3::Bucket", "s3"
    fixed = names("BucketName")
    known = names(
        "AccessControl BucketEncryption PublicAccessBlockConfiguration VersioningConfiguration"
        " LifecycleConfiguration Tags OwnershipControls"
    )

    def create(self, at: Place, given: Properties) -> Made:
        name = given.get("BucketName") or at.name(63).lower()
        home = {"CreateBucketConfiguration": {"LocationConstraint": at.region}}
        at.client("s3").create_bucket(Bucket=name, **(home if at.region != "us-east-1" else {}))
        self._settings(at, name, given)
        domain = f"{name}.s3.{at.region}.amazonaws.com"
        attributes = {"RegionalDomainName": domain, "DomainName": f"{name}.s3.amazonaws.com"}
        return Made(name, {"Arn": f"arn:aws:s3:::{name}", **attributes})

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        self._settings(at, made.physical_id, new)
        return made

    @staticmethod
    def _settings(at: Place, name: str, given: Properties) -> None:
        s3 = at.client("s3")
        if encryption := given.get("BucketEncryption"):
            rules = [
                {
                    "ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"],
                    **only(rule, names("BucketKeyEnabled")),
                }
                for rule in encryption["ServerSideEncryptionConfiguration"]
            ]
            configuration = {"Rules": rules}
            s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration=configuration)
        if block := given.get("PublicAccessBlockConfiguration"):
            s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=block)
        if versioning := given.get("VersioningConfiguration"):
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=versioning)
        if ownership := given.get("OwnershipControls"):
            s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls=ownership)
        if lifecycle := given.get("LifecycleConfiguration"):
            rules = [_lifecycle(rule, number) for number, rule in enumerate(lifecycle["Rules"])]
            s3.put_bucket_lifecycle_configuration(
                Bucket=name, LifecycleConfiguration={"Rules": rules}
            )
        if given.get("Tags"):
            s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": given["Tags"]})

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("s3").delete_bucket(Bucket=made.physical_id)


def _lifecycle(rule: Properties, number: int) -> Properties:
    """CloudFormation writes some of a rule in another way than the API."""
    days = rule.get("ExpirationInDays")
    return {
        "Filter": {"Prefix": ""},
        **without(rule, "Id", "ExpirationInDays"),
        "ID": rule.get("Id") or f"rule-{number}",
        **({"Expiration": {"Days": days}} if days else {}),
    }


@kind
class BucketPolicy(Kind):
    type, service = "AWS::S3::BucketPolicy", "s3"
    fixed, known = names("Bucket"), names("PolicyDocument")

    def create(self, at: Place, given: Properties) -> Made:
        document = json.dumps(given["PolicyDocument"])
        at.client("s3").put_bucket_policy(Bucket=given["Bucket"], Policy=document)
        return Made(given["Bucket"])

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        return self.create(at, new)

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("s3").delete_bucket_policy(Bucket=made.physical_id)


@kind
class Repository(Kind):
    type, service = "AWS::ECR::Repository", "ecr"
    fixed = names("RepositoryName")
    known = names("ImageTagMutability LifecyclePolicy RepositoryPolicyText")

    def create(self, at: Place, given: Properties) -> Made:
        ecr, name = at.client("ecr"), given.get("RepositoryName") or at.name(256).lower()
        mutability = given.get("ImageTagMutability", "MUTABLE")
        made = ecr.create_repository(repositoryName=name, imageTagMutability=mutability)
        if policy := given.get("LifecyclePolicy"):
            text = policy["LifecyclePolicyText"]
            ecr.put_lifecycle_policy(repositoryName=name, lifecyclePolicyText=text)
        if policy := given.get("RepositoryPolicyText"):
            ecr.set_repository_policy(repositoryName=name, policyText=json.dumps(policy))
        return Made(name, {"Arn": made["repository"]["repositoryArn"]})

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("ecr").delete_repository(repositoryName=made.physical_id)


# ------------------------------------------------------------------------------------- IAM


@kind
class RoleKind(Kind):
    type, service = "AWS::IAM::Role", "iam"
    fixed = names("RoleName Path")
    known = names(
        "AssumeRolePolicyDocument Description MaxSessionDuration PermissionsBoundary Tags Policies"
        " ManagedPolicyArns"
    )
    at_creation = names("Description MaxSessionDuration PermissionsBoundary Path Tags")

    def create(self, at: Place, given: Properties) -> Made:
        iam, name = at.client("iam"), given.get("RoleName") or at.name()
        trust = json.dumps(given["AssumeRolePolicyDocument"])
        role = iam.create_role(
            RoleName=name, AssumeRolePolicyDocument=trust, **only(given, self.at_creation)
        )["Role"]
        self._grant(iam, name, given)
        return Made(name, {"Arn": role["Arn"], "RoleId": role["RoleId"]})

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        iam, name = at.client("iam"), made.physical_id
        # moto takes a policy without a version, as CDK's bootstrapping writes some, only at first.
        trust = json.dumps({"Version": "2012-10-17", **new["AssumeRolePolicyDocument"]})
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust)
        self._revoke(iam, name, old)
        self._grant(iam, name, new)
        return made

    @staticmethod
    def _grant(iam: Any, name: str, given: Properties) -> None:
        for policy in given.get("Policies", []):
            document = json.dumps(policy["PolicyDocument"])
            iam.put_role_policy(
                RoleName=name, PolicyName=policy["PolicyName"], PolicyDocument=document
            )
        for arn in given.get("ManagedPolicyArns", []):
            iam.attach_role_policy(RoleName=name, PolicyArn=arn)

    @staticmethod
    def _revoke(iam: Any, name: str, given: Properties) -> None:
        for policy in given.get("Policies", []):
            iam.delete_role_policy(RoleName=name, PolicyName=policy["PolicyName"])
        for arn in given.get("ManagedPolicyArns", []):
            iam.detach_role_policy(RoleName=name, PolicyArn=arn)

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        iam = at.client("iam")
        self._revoke(iam, made.physical_id, given)
        iam.delete_role(RoleName=made.physical_id)


@kind
class InlinePolicy(Kind):
    type, service = "AWS::IAM::Policy", "iam"
    fixed, known = names("PolicyName"), names("PolicyDocument Roles")

    def create(self, at: Place, given: Properties) -> Made:
        document = json.dumps(given["PolicyDocument"])
        for role in given["Roles"]:
            at.client("iam").put_role_policy(
                RoleName=role, PolicyName=given["PolicyName"], PolicyDocument=document
            )
        return Made(given["PolicyName"])

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        gone = [role for role in old["Roles"] if role not in new["Roles"]]
        self.delete(at, made, {**old, "Roles": gone})
        return self.create(at, new)

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        for role in given["Roles"]:
            at.client("iam").delete_role_policy(RoleName=role, PolicyName=given["PolicyName"])


@kind
class ManagedPolicy(Kind):
    type, service = "AWS::IAM::ManagedPolicy", "iam"
    fixed, known = names("ManagedPolicyName Path Description"), names("PolicyDocument Roles")

    def create(self, at: Place, given: Properties) -> Made:
        iam = at.client("iam")
        policy = iam.create_policy(
            PolicyName=given.get("ManagedPolicyName") or at.name(128),
            PolicyDocument=json.dumps(given["PolicyDocument"]),
            **only(given, names("Path Description")),
        )["Policy"]
        for role in given.get("Roles", []):
            iam.attach_role_policy(RoleName=role, PolicyArn=policy["Arn"])
        return Made(policy["Arn"], {"PolicyArn": policy["Arn"], "PolicyId": policy["PolicyId"]})

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        iam, arn = at.client("iam"), made.physical_id
        iam.create_policy_version(
            PolicyArn=arn, PolicyDocument=json.dumps(new["PolicyDocument"]), SetAsDefault=True
        )
        for version in iam.list_policy_versions(PolicyArn=arn)["Versions"]:
            if not version["IsDefaultVersion"]:
                iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
        before, after = set(old.get("Roles", [])), set(new.get("Roles", []))
        for role in before - after:
            iam.detach_role_policy(RoleName=role, PolicyArn=arn)
        for role in after - before:
            iam.attach_role_policy(RoleName=role, PolicyArn=arn)
        return made

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        iam = at.client("iam")
        for role in given.get("Roles", []):
            iam.detach_role_policy(RoleName=role, PolicyArn=made.physical_id)
        iam.delete_policy(PolicyArn=made.physical_id)


# -------------------------------------------------------------------------------- SSM, KMS


@kind
class Parameter(Kind):
    type, service = "AWS::SSM::Parameter", "ssm"
    fixed = names("Name Type")
    known = names("Value Description Tier AllowedPattern DataType")

    def create(self, at: Place, given: Properties) -> Made:
        name = given.get("Name") or at.name()
        at.client("ssm").put_parameter(**{**given, "Name": name})
        return Made(name, {"Type": given["Type"], "Value": given["Value"]})

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        at.client("ssm").put_parameter(**{**new, "Name": made.physical_id}, Overwrite=True)
        return Made(made.physical_id, {"Type": new["Type"], "Value": new["Value"]})

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("ssm").delete_parameter(Name=made.physical_id)


@kind
class Key(Kind):
    type, service = "AWS::KMS::Key", "kms"
    known = names("KeyPolicy Description EnableKeyRotation PendingWindowInDays Tags")

    def create(self, at: Place, given: Properties) -> Made:
        kms = at.client("kms")
        made = kms.create_key(
            Policy=json.dumps(given["KeyPolicy"]),
            Description=given.get("Description", ""),
            Tags=[{"TagKey": k, "TagValue": v} for k, v in tags(given).items()],
        )["KeyMetadata"]
        if given.get("EnableKeyRotation"):
            kms.enable_key_rotation(KeyId=made["KeyId"])
        return Made(made["KeyId"], {"Arn": made["Arn"], "KeyId": made["KeyId"]})

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        kms, key = at.client("kms"), made.physical_id
        document = json.dumps(new["KeyPolicy"])
        kms.put_key_policy(KeyId=key, PolicyName="default", Policy=document)
        kms.update_key_description(KeyId=key, Description=new.get("Description", ""))
        turn = kms.enable_key_rotation if new.get("EnableKeyRotation") else kms.disable_key_rotation
        turn(KeyId=key)
        return made

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        days = int(given.get("PendingWindowInDays", 30))
        at.client("kms").schedule_key_deletion(KeyId=made.physical_id, PendingWindowInDays=days)


@kind
class Alias(Kind):
    type, service = "AWS::KMS::Alias", "kms"
    fixed, known = names("AliasName"), names("TargetKeyId")

    def create(self, at: Place, given: Properties) -> Made:
        # A key may be named by its ARN, which moto does not take here.
        key = given["TargetKeyId"].rsplit("/", 1)[-1]
        at.client("kms").create_alias(AliasName=given["AliasName"], TargetKeyId=key)
        return Made(given["AliasName"])

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        key = new["TargetKeyId"].rsplit("/", 1)[-1]
        at.client("kms").update_alias(AliasName=made.physical_id, TargetKeyId=key)
        return made

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("kms").delete_alias(AliasName=made.physical_id)


@kind
class Secret(Kind):
    """With a value that is made up. One that stands in the template, anybody may read there."""

    type, service = "AWS::SecretsManager::Secret", "secretsmanager"
    fixed, known = names("Name"), names("Description GenerateSecretString KmsKeyId Tags")

    def create(self, at: Place, given: Properties) -> Made:
        secrets, name = at.client("secretsmanager"), given.get("Name") or at.name()
        made = secrets.create_secret(
            Name=name,
            SecretString=self._value(secrets, given.get("GenerateSecretString", {})),
            **only(given, names("Description KmsKeyId Tags")),
        )
        return Made(made["ARN"], {"Id": made["ARN"]})

    @staticmethod
    def _value(secrets: Any, how: Properties) -> str:
        """Source: AWS::SecretsManager::Secret GenerateSecretString."""
        options = without(how, "SecretStringTemplate", "GenerateStringKey")
        password = str(secrets.get_random_password(**options)["RandomPassword"])
        if "SecretStringTemplate" not in how:
            return password
        template = json.loads(how["SecretStringTemplate"])
        return json.dumps({**template, how["GenerateStringKey"]: password})

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        secrets, how = at.client("secretsmanager"), "GenerateSecretString"
        if old.get("KmsKeyId") != new.get("KmsKeyId"):
            return super().update(at, made, old, new)
        secrets.update_secret(SecretId=made.physical_id, Description=new.get("Description", ""))
        if old.get(how) != new.get(how):
            value = self._value(secrets, new.get(how, {}))
            secrets.put_secret_value(SecretId=made.physical_id, SecretString=value)
        return made

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("secretsmanager").delete_secret(
            SecretId=made.physical_id, ForceDeleteWithoutRecovery=True
        )


# -------------------------------------------------------------------------------- DynamoDB


@kind
class Table(Kind):
    type, service = "AWS::DynamoDB::Table", "dynamodb"
    fixed = names("TableName KeySchema LocalSecondaryIndexes")
    passed = names(
        "KeySchema AttributeDefinitions BillingMode GlobalSecondaryIndexes LocalSecondaryIndexes"
        " ProvisionedThroughput DeletionProtectionEnabled Tags TableClass"
    )
    known = passed | names(
        "SSESpecification TimeToLiveSpecification PointInTimeRecoverySpecification"
        " StreamSpecification"
    )

    def create(self, at: Place, given: Properties) -> Made:
        name, parameters = given.get("TableName") or at.name(255), only(given, self.passed)
        if encryption := given.get("SSESpecification"):
            chosen = only(encryption, names("SSEType KMSMasterKeyId"))
            parameters["SSESpecification"] = {"Enabled": encryption["SSEEnabled"], **chosen}
        if stream := given.get("StreamSpecification"):
            parameters["StreamSpecification"] = {"StreamEnabled": True, **stream}
        made = at.client("dynamodb").create_table(TableName=name, **parameters)["TableDescription"]
        self._settings(at, name, given)
        attributes = {"Arn": made["TableArn"]}
        if "LatestStreamArn" in made:
            attributes["StreamArn"] = made["LatestStreamArn"]
        return Made(name, attributes)

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        settings = ("TimeToLiveSpecification", "PointInTimeRecoverySpecification")
        in_place = {*settings, "DeletionProtectionEnabled", "Tags"}
        if {n for n in {*old, *new} if old.get(n) != new.get(n)} - in_place:
            return super().update(at, made, old, new)
        protection = bool(new.get("DeletionProtectionEnabled"))
        if protection != bool(old.get("DeletionProtectionEnabled")):
            at.client("dynamodb").update_table(
                TableName=made.physical_id, DeletionProtectionEnabled=protection
            )
        changed = {n: new[n] for n in settings if n in new and old.get(n) != new[n]}
        self._settings(at, made.physical_id, changed)
        return made

    @staticmethod
    def _settings(at: Place, name: str, given: Properties) -> None:
        dynamodb = at.client("dynamodb")
        if ttl := given.get("TimeToLiveSpecification"):
            dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=ttl)
        if recovery := given.get("PointInTimeRecoverySpecification"):
            dynamodb.update_continuous_backups(
                TableName=name, PointInTimeRecoverySpecification=recovery
            )

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("dynamodb").delete_table(TableName=made.physical_id)


@kind
class GlobalTable(Kind):
    """A table in the stack's own Region, and a replica of it in each further one."""

    type, service = "AWS::DynamoDB::GlobalTable", "dynamodb"
    fixed = names("TableName KeySchema LocalSecondaryIndexes")
    passed = names(
        "KeySchema AttributeDefinitions BillingMode GlobalSecondaryIndexes LocalSecondaryIndexes"
    )
    known = passed | names("SSESpecification TimeToLiveSpecification StreamSpecification Replicas")
    settings = names(
        "Region SSESpecification PointInTimeRecoverySpecification DeletionProtectionEnabled"
    )

    def check(self, given: Properties) -> None:
        super().check(given)
        replicas = given["Replicas"]
        if unknown := {name for one in replicas for name in one} - self.settings:
            raise CannotMake(f"of replicas the test cloud was not taught: {sorted(unknown)}")
        if len(replicas) > 1 and "StreamSpecification" not in given:
            raise CannotMake("StreamSpecification is required for more than one replica")
        encrypted = given.get("SSESpecification", {}).get("SSEEnabled", False)
        if not encrypted and any("SSESpecification" in one for one in replicas):
            raise CannotMake("ReplicaSSESpecification must be null when SSE is set to default")

    def create(self, at: Place, given: Properties) -> Made:
        name, parameters = given.get("TableName") or at.name(255), only(given, self.passed)
        further = _by_region(given)
        if at.region not in further:
            raise CannotMake(f"there has to be a replica in {at.region}, where the stack is")
        own = further.pop(at.region)
        if encryption := given.get("SSESpecification"):
            parameters["SSESpecification"] = {
                "Enabled": encryption["SSEEnabled"],
                **only(encryption, names("SSEType")),
                **own.get("SSESpecification", {}),
            }
        if stream := given.get("StreamSpecification"):
            parameters["StreamSpecification"] = {"StreamEnabled": True, **stream}
        dynamodb = at.client("dynamodb")
        made = dynamodb.create_table(TableName=name, **parameters)["TableDescription"]
        attributes = {"Arn": made["TableArn"], "TableId": made.get("TableId", "")}
        if "LatestStreamArn" in made:
            attributes["StreamArn"] = made["LatestStreamArn"]
        done = Made(name, attributes)
        try:
            for replica in further.values():
                self._add(at, name, replica)
        except ClientError:
            # Nobody knows yet what there is of it.
            self.delete(at, done, {"Replicas": []})
            raise
        if ttl := given.get("TimeToLiveSpecification"):
            dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=ttl)
        for replica in given["Replicas"]:
            self._set(at, name, replica)
        return done

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        in_place = {"Replicas", "TimeToLiveSpecification"}
        if {n for n in {*old, *new} if old.get(n) != new.get(n)} - in_place:
            return super().update(at, made, old, new)
        name, before, after = made.physical_id, _by_region(old), _by_region(new)
        changed = before.keys() ^ after.keys()
        if len(changed) > 1:
            raise CannotMake(
                f"an update adds or removes a single replica, not those of {sorted(changed)}"
            )
        for region in before.keys() & after.keys():
            if before[region].get("SSESpecification") != after[region].get("SSESpecification"):
                raise CannotMake(f"another key of the replica in {region}")
        for region in changed & after.keys():
            self._add(at, name, after[region])
        for region in changed & before.keys():
            self._drop(at, name, region)
        if ttl := new.get("TimeToLiveSpecification"):
            at.client("dynamodb").update_time_to_live(TableName=name, TimeToLiveSpecification=ttl)
        for replica in new["Replicas"]:
            if replica != before.get(replica["Region"]):
                self._set(at, name, replica)
        return made

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        described = at.client("dynamodb").describe_table(TableName=made.physical_id)["Table"]
        for replica in described.get("Replicas", []):
            self._drop(at, made.physical_id, replica["RegionName"])
        at.client("dynamodb").delete_table(TableName=made.physical_id)

    @staticmethod
    def _add(at: Place, name: str, replica: Properties) -> None:
        create = {"RegionName": replica["Region"], **replica.get("SSESpecification", {})}
        at.client("dynamodb").update_table(TableName=name, ReplicaUpdates=[{"Create": create}])

    @staticmethod
    def _drop(at: Place, name: str, region: str) -> None:
        gone = {"Delete": {"RegionName": region}}
        at.client("dynamodb").update_table(TableName=name, ReplicaUpdates=[gone])

    @staticmethod
    def _set(at: Place, name: str, replica: Properties) -> None:
        """What each replica has of its own is set where it is."""
        there = at.client_for("dynamodb", replica["Region"])
        recovery = replica.get("PointInTimeRecoverySpecification")
        there.update_continuous_backups(
            TableName=name,
            PointInTimeRecoverySpecification=recovery or {"PointInTimeRecoveryEnabled": False},
        )
        there.update_table(
            TableName=name,
            DeletionProtectionEnabled=bool(replica.get("DeletionProtectionEnabled")),
        )


def _by_region(given: Properties) -> dict[str, Properties]:
    return {replica["Region"]: replica for replica in given["Replicas"]}


# -------------------------------------------------------------------------------- SQS, SNS


@kind
class QueueKind(Kind):
    type, service = "AWS::SQS::Queue", "sqs"
    fixed = names("QueueName FifoQueue")
    known = names(
        "DelaySeconds MaximumMessageSize MessageRetentionPeriod ReceiveMessageWaitTimeSeconds"
        " VisibilityTimeout RedrivePolicy RedriveAllowPolicy KmsMasterKeyId"
        " KmsDataKeyReusePeriodSeconds SqsManagedSseEnabled ContentBasedDeduplication"
        " DeduplicationScope FifoThroughputLimit Tags"
    )

    def create(self, at: Place, given: Properties) -> Made:
        name = given.get("QueueName") or at.name(80)
        attributes = self._attributes(given)
        made = at.client("sqs").create_queue(
            QueueName=name, Attributes=attributes, tags=tags(given)
        )
        arn = f"arn:aws:sqs:{at.region}:{at.account}:{name}"
        url = made["QueueUrl"]
        return Made(url, {"Arn": arn, "QueueName": name, "QueueUrl": url})

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        sqs, url = at.client("sqs"), made.physical_id
        # moto forgets the policy when other attributes are set.
        kept = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
        attributes = {**kept.get("Attributes", {}), **self._attributes(new)}
        sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
        return made

    @staticmethod
    def _attributes(given: Properties) -> dict[str, str]:
        return {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in without(given, "QueueName", "Tags").items()
        }

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("sqs").delete_queue(QueueUrl=made.physical_id)


@kind
class QueuePolicy(Kind):
    type, service = "AWS::SQS::QueuePolicy", "sqs"
    fixed, known = names("Queues"), names("PolicyDocument")

    def create(self, at: Place, given: Properties) -> Made:
        document = json.dumps(given["PolicyDocument"])
        for url in given["Queues"]:
            at.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": document})
        return Made(at.name())

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        self.create(at, new)
        return made

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        for url in given["Queues"]:
            at.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})


@kind
class Topic(Kind):
    type, service = "AWS::SNS::Topic", "sns"
    fixed = names("TopicName")
    known = names("DisplayName KmsMasterKeyId Tags")

    def create(self, at: Place, given: Properties) -> Made:
        name = given.get("TopicName") or at.name(256)
        arn = at.client("sns").create_topic(
            Name=name,
            Attributes=only(given, names("DisplayName KmsMasterKeyId")),
            Tags=given.get("Tags", []),
        )["TopicArn"]
        return Made(arn, {"TopicArn": arn, "TopicName": name})

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        for name in ("DisplayName", "KmsMasterKeyId"):
            if old.get(name) != new.get(name):
                at.client("sns").set_topic_attributes(
                    TopicArn=made.physical_id, AttributeName=name, AttributeValue=new.get(name, "")
                )
        return made

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("sns").delete_topic(TopicArn=made.physical_id)


@kind
class TopicPolicy(Kind):
    type, service = "AWS::SNS::TopicPolicy", "sns"
    fixed, known = names("Topics"), names("PolicyDocument")

    def create(self, at: Place, given: Properties) -> Made:
        document = json.dumps(given["PolicyDocument"])
        for arn in given["Topics"]:
            at.client("sns").set_topic_attributes(
                TopicArn=arn, AttributeName="Policy", AttributeValue=document
            )
        return Made(at.name())

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        self.create(at, new)
        return made


@kind
class Subscription(Kind):
    type, service = "AWS::SNS::Subscription", "sns"
    fixed = names("TopicArn Protocol Endpoint")
    known = names("FilterPolicy RawMessageDelivery")

    def create(self, at: Place, given: Properties) -> Made:
        attributes = {
            name: json.dumps(value)
            for name, value in only(given, names("FilterPolicy RawMessageDelivery")).items()
        }
        arn = at.client("sns").subscribe(
            **only(given, self.fixed), Attributes=attributes, ReturnSubscriptionArn=True
        )["SubscriptionArn"]
        return Made(arn, {"Arn": arn})

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("sns").unsubscribe(SubscriptionArn=made.physical_id)


# ---------------------------------------------------------------------------------- Lambda


@kind
class Function(Kind):
    type, service = "AWS::Lambda::Function", "lambda"
    fixed = names("FunctionName PackageType")
    settings = names(
        "Handler Role Runtime Description MemorySize Timeout Environment Layers TracingConfig"
        " DeadLetterConfig LoggingConfig EphemeralStorage"
    )
    known = settings | names("Code Architectures KmsKeyArn ReservedConcurrentExecutions Tags")

    def create(self, at: Place, given: Properties) -> Made:
        client, name = at.client("lambda"), given.get("FunctionName") or at.name()
        made = client.create_function(
            FunctionName=name,
            Code=self._code(given),
            Tags=tags(given),
            **only(given, names("Architectures PackageType")),
            **self._settings(given),
        )
        self._reserve(client, name, {}, given)
        return Made(name, {"Arn": made["FunctionArn"]})

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        client, name = at.client("lambda"), made.physical_id
        changed = {n for n in {*old, *new} if old.get(n) != new.get(n)}
        if changed & {"Code", "Architectures"}:
            architecture = only(new, names("Architectures"))
            client.update_function_code(FunctionName=name, **self._code(new), **architecture)
        if changed & (self.settings | {"KmsKeyArn"}):
            # What the template no longer names goes back to its default.
            defaults = {"Layers": [], "Environment": {"Variables": {}}, "DeadLetterConfig": {}}
            client.update_function_configuration(
                FunctionName=name, **{**defaults, **self._settings(new)}
            )
        self._reserve(client, name, old, new)
        return made

    def _settings(self, given: Properties) -> Properties:
        key = {"KMSKeyArn": given["KmsKeyArn"]} if "KmsKeyArn" in given else {}
        return {**only(given, self.settings), **key}

    @staticmethod
    def _code(given: Properties) -> Properties:
        code = given["Code"]
        if "ZipFile" not in code:
            return only(code, names("S3Bucket S3Key S3ObjectVersion"))
        # Inline code is index.py.
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("index.py", code["ZipFile"])
        return {"ZipFile": archive.getvalue()}

    @staticmethod
    def _reserve(client: Any, name: str, old: Properties, new: Properties) -> None:
        reserved = new.get("ReservedConcurrentExecutions")
        if reserved is not None:
            client.put_function_concurrency(
                FunctionName=name, ReservedConcurrentExecutions=int(reserved)
            )
        elif "ReservedConcurrentExecutions" in old:
            client.delete_function_concurrency(FunctionName=name)

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("lambda").delete_function(FunctionName=made.physical_id)


@kind
class LayerVersion(Kind):
    type, service = "AWS::Lambda::LayerVersion", "lambda"
    known = frozenset()
    fixed = names(
        "LayerName Content Description CompatibleRuntimes CompatibleArchitectures LicenseInfo"
    )

    def create(self, at: Place, given: Properties) -> Made:
        name = given.get("LayerName") or at.name(140)
        arn = at.client("lambda").publish_layer_version(**{**given, "LayerName": name})[
            "LayerVersionArn"
        ]
        return Made(arn, {"LayerVersionArn": arn})

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        layer, version = made.physical_id.rsplit(":", 1)
        at.client("lambda").delete_layer_version(LayerName=layer, VersionNumber=int(version))


@kind
class FunctionVersion(Kind):
    type, service = "AWS::Lambda::Version", "lambda"
    known, fixed = frozenset(), names("FunctionName CodeSha256 Description")

    def create(self, at: Place, given: Properties) -> Made:
        made = at.client("lambda").publish_version(**given)
        arn = made["FunctionArn"]
        return Made(arn, {"Version": made["Version"], "FunctionArn": arn})

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        name, version = made.physical_id.rsplit(":", 1)
        at.client("lambda").delete_function(FunctionName=name, Qualifier=version)


@kind
class EventSourceMapping(Kind):
    type, service = "AWS::Lambda::EventSourceMapping", "lambda"
    fixed = names("EventSourceArn")
    known = names(
        "FunctionName BatchSize MaximumBatchingWindowInSeconds FunctionResponseTypes ScalingConfig"
        " Enabled"
    )

    def create(self, at: Place, given: Properties) -> Made:
        made = at.client("lambda").create_event_source_mapping(**given)
        return Made(made["UUID"], {"Id": made["UUID"]})

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        changed = without(new, "EventSourceArn")
        at.client("lambda").update_event_source_mapping(UUID=made.physical_id, **changed)
        return made

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("lambda").delete_event_source_mapping(UUID=made.physical_id)


@kind
class EventInvokeConfig(Kind):
    type, service = "AWS::Lambda::EventInvokeConfig", "lambda"
    fixed = names("FunctionName Qualifier")
    known = names("MaximumRetryAttempts MaximumEventAgeInSeconds DestinationConfig")

    def create(self, at: Place, given: Properties) -> Made:
        at.client("lambda").put_function_event_invoke_config(**given)
        return Made(at.name())

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        at.client("lambda").put_function_event_invoke_config(**new)
        return made

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("lambda").delete_function_event_invoke_config(**only(given, self.fixed))


@kind
class Permission(Kind):
    type, service = "AWS::Lambda::Permission", "lambda"
    known = frozenset()
    fixed = names(
        "FunctionName Action Principal SourceArn SourceAccount FunctionUrlAuthType"
        " InvokedViaFunctionUrl"
    )

    def create(self, at: Place, given: Properties) -> Made:
        statement = at.name(100)
        via = str(given.get("InvokedViaFunctionUrl")).lower()
        settings = {"InvokedViaFunctionUrl": via == "true"} if via != "none" else {}
        at.client("lambda").add_permission(StatementId=statement, **{**given, **settings})
        return Made(statement)

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("lambda").remove_permission(
            FunctionName=given["FunctionName"], StatementId=made.physical_id
        )


@kind
class Url(Kind):
    type, service = "AWS::Lambda::Url", "lambda"
    fixed, known = names("TargetFunctionArn"), names("AuthType InvokeMode")

    def create(self, at: Place, given: Properties) -> Made:
        function = given["TargetFunctionArn"]
        made = at.client("lambda").create_function_url_config(
            FunctionName=function, **only(given, self.known)
        )
        return Made(
            function, {"FunctionArn": made["FunctionArn"], "FunctionUrl": made["FunctionUrl"]}
        )

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        at.client("lambda").update_function_url_config(
            FunctionName=made.physical_id, **only(new, self.known)
        )
        return made

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("lambda").delete_function_url_config(FunctionName=made.physical_id)


@kind
class LogGroup(Kind):
    type, service = "AWS::Logs::LogGroup", "logs"
    fixed, known = names("LogGroupName"), names("RetentionInDays KmsKeyId Tags")

    def create(self, at: Place, given: Properties) -> Made:
        logs, name = at.client("logs"), given.get("LogGroupName") or at.name(512)
        key = {"kmsKeyId": given["KmsKeyId"]} if "KmsKeyId" in given else {}
        logs.create_log_group(logGroupName=name, tags=tags(given), **key)
        self._retention(logs, name, given)
        return Made(name, {"Arn": f"arn:aws:logs:{at.region}:{at.account}:log-group:{name}:*"})

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        if old.get("KmsKeyId") != new.get("KmsKeyId"):
            return super().update(at, made, old, new)
        self._retention(at.client("logs"), made.physical_id, new)
        return made

    @staticmethod
    def _retention(logs: Any, name: str, given: Properties) -> None:
        if days := given.get("RetentionInDays"):
            logs.put_retention_policy(logGroupName=name, retentionInDays=int(days))
        else:
            logs.delete_retention_policy(logGroupName=name)

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("logs").delete_log_group(logGroupName=made.physical_id)


# ---------------------------------------------------------------- EventBridge and Scheduler


@kind
class Bus(Kind):
    type, service = "AWS::Events::EventBus", "events"
    fixed = names("Name")
    known = names("Description KmsKeyIdentifier DeadLetterConfig Tags")

    def create(self, at: Place, given: Properties) -> Made:
        arn = at.client("events").create_event_bus(**given)["EventBusArn"]
        return Made(given["Name"], {"Arn": arn, "Name": given["Name"]})

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("events").delete_event_bus(Name=made.physical_id)


@kind
class BusPolicy(Kind):
    type, service = "AWS::Events::EventBusPolicy", "events"
    fixed, known = names("EventBusName StatementId"), names("Statement")

    def create(self, at: Place, given: Properties) -> Made:
        bus = given.get("EventBusName", "default")
        statement = {"Sid": given["StatementId"], **given["Statement"]}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        at.client("events").put_permission(EventBusName=bus, Policy=document)
        return Made(given["StatementId"])

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        self.delete(at, made, old)
        return self.create(at, new)

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        bus = given.get("EventBusName", "default")
        at.client("events").remove_permission(EventBusName=bus, StatementId=made.physical_id)


@kind
class RuleKind(Kind):
    type, service = "AWS::Events::Rule", "events"
    fixed = names("Name EventBusName")
    known = names("Description EventPattern ScheduleExpression State RoleArn Targets")

    def create(self, at: Place, given: Properties) -> Made:
        name = given.get("Name") or at.name()
        arn = self._put(at, name, given)
        bus = given.get("EventBusName", "default")
        return Made(name if bus == "default" else f"{bus}|{name}", {"Arn": arn})

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        before = {target["Id"] for target in old.get("Targets", [])}
        after = {target["Id"] for target in new.get("Targets", [])}
        self._remove_targets(at, made, old, before - after)
        self._put(at, self._name(made), new)
        return made

    @staticmethod
    def _name(made: Made) -> str:
        return made.physical_id.rsplit("|", 1)[-1]

    @staticmethod
    def _put(at: Place, name: str, given: Properties) -> str:
        events, bus = at.client("events"), only(given, names("EventBusName"))
        settings = without(given, "Name", "EventBusName", "Targets", "EventPattern")
        if "EventPattern" in given:
            settings["EventPattern"] = json.dumps(given["EventPattern"])
        arn = events.put_rule(Name=name, **bus, **settings)["RuleArn"]
        if given.get("Targets"):
            result = events.put_targets(Rule=name, Targets=given["Targets"], **bus)
            if result["FailedEntryCount"]:
                raise CannotMake(f"targets refused: {result['FailedEntries']}")
        return str(arn)

    def _remove_targets(self, at: Place, made: Made, given: Properties, ids: set[str]) -> None:
        if ids:
            bus = only(given, names("EventBusName"))
            at.client("events").remove_targets(Rule=self._name(made), Ids=sorted(ids), **bus)

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        ids = {target["Id"] for target in given.get("Targets", [])}
        self._remove_targets(at, made, given, ids)
        bus = only(given, names("EventBusName"))
        at.client("events").delete_rule(Name=self._name(made), **bus)


@kind
class ScheduleGroup(Kind):
    type, service = "AWS::Scheduler::ScheduleGroup", "scheduler"
    fixed, known = names("Name"), names("Tags")

    def create(self, at: Place, given: Properties) -> Made:
        name = given.get("Name") or at.name()
        labels = only(given, names("Tags"))
        arn = at.client("scheduler").create_schedule_group(Name=name, **labels)["ScheduleGroupArn"]
        return Made(name, {"Arn": arn})

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("scheduler").delete_schedule_group(Name=made.physical_id)


@kind
class ScheduleKind(Kind):
    type, service = "AWS::Scheduler::Schedule", "scheduler"
    fixed = names("Name GroupName")
    known = names(
        "ScheduleExpression ScheduleExpressionTimezone FlexibleTimeWindow Target State Description"
        " StartDate EndDate KmsKeyArn"
    )

    def create(self, at: Place, given: Properties) -> Made:
        name = given.get("Name") or at.name()
        made = at.client("scheduler").create_schedule(**{**given, "Name": name})
        return Made(name, {"Arn": made["ScheduleArn"]})

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        at.client("scheduler").update_schedule(**{**new, "Name": made.physical_id})
        return made

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        group = only(given, names("GroupName"))
        at.client("scheduler").delete_schedule(Name=made.physical_id, **group)


# -------------------------------------------------------------------------- Step Functions


@kind
class StateMachineKind(Kind):
    type, service = "AWS::StepFunctions::StateMachine", "stepfunctions"
    fixed = names("StateMachineName StateMachineType")
    settings = names("LoggingConfiguration TracingConfiguration EncryptionConfiguration")
    known = settings | names("DefinitionString DefinitionSubstitutions RoleArn Tags")
    # What the template no longer names goes back to its default.
    defaults: ClassVar[Properties] = {
        "loggingConfiguration": {"level": "OFF", "includeExecutionData": False},
        "tracingConfiguration": {"enabled": False},
        "encryptionConfiguration": {"type": "AWS_OWNED_KEY"},
    }

    def create(self, at: Place, given: Properties) -> Made:
        name = given.get("StateMachineName") or at.name(80)
        made = at.client("stepfunctions").create_state_machine(
            name=name,
            type=given.get("StateMachineType", "STANDARD"),
            tags=self._tags(given),
            **self._settings(given),
        )
        arn = made["stateMachineArn"]
        return Made(arn, {"Arn": arn, "Name": name, "StateMachineRevisionId": "INITIAL"})

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        states, arn = at.client("stepfunctions"), made.physical_id
        updated = states.update_state_machine(
            stateMachineArn=arn, **{**self.defaults, **self._settings(new)}
        )
        if gone := sorted(set(tags(old)) - set(tags(new))):
            states.untag_resource(resourceArn=arn, tagKeys=gone)
        states.tag_resource(resourceArn=arn, tags=self._tags(new))
        revision = {"StateMachineRevisionId": updated["revisionId"]}
        return Made(arn, {**made.attributes, **revision})

    def _settings(self, given: Properties) -> Properties:
        definition = given["DefinitionString"]
        for name, value in given.get("DefinitionSubstitutions", {}).items():
            text = value if isinstance(value, str) else json.dumps(value)
            definition = definition.replace(f"${{{name}}}", text)
        return {
            "definition": definition,
            "roleArn": given["RoleArn"],
            **lower_first(only(given, self.settings)),
        }

    @staticmethod
    def _tags(given: Properties) -> list[dict[str, str]]:
        return [{"key": key, "value": value} for key, value in tags(given).items()]

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("stepfunctions").delete_state_machine(stateMachineArn=made.physical_id)


# ------------------------------------------------------------------------------ CloudWatch


@kind
class Alarm(Kind):
    type, service = "AWS::CloudWatch::Alarm", "cloudwatch"
    fixed = names("AlarmName")
    known = names(
        "ActionsEnabled AlarmActions AlarmDescription ComparisonOperator DatapointsToAlarm"
        " Dimensions EvaluateLowSampleCountPercentile EvaluationPeriods ExtendedStatistic"
        " InsufficientDataActions MetricName Metrics Namespace OKActions Period Statistic Tags"
        " Threshold ThresholdMetricId TreatMissingData Unit"
    )

    def create(self, at: Place, given: Properties) -> Made:
        name = given.get("AlarmName") or at.name(255)
        at.client("cloudwatch").put_metric_alarm(**{**given, "AlarmName": name})
        return Made(name, {"Arn": f"arn:aws:cloudwatch:{at.region}:{at.account}:alarm:{name}"})

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        return self.create(at, {**new, "AlarmName": made.physical_id})

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("cloudwatch").delete_alarms(AlarmNames=[made.physical_id])


@kind
class Dashboard(Kind):
    type, service = "AWS::CloudWatch::Dashboard", "cloudwatch"
    fixed, known = names("DashboardName"), names("DashboardBody")

    def create(self, at: Place, given: Properties) -> Made:
        name = given.get("DashboardName") or at.name(255)
        body = given["DashboardBody"]
        at.client("cloudwatch").put_dashboard(DashboardName=name, DashboardBody=body)
        return Made(name)

    def update(self, at: Place, made: Made, old: Properties, new: Properties) -> Made:
        return self.create(at, {**new, "DashboardName": made.physical_id})

    def delete(self, at: Place, made: Made, given: Properties) -> None:
        at.client("cloudwatch").delete_dashboards(DashboardNames=[made.physical_id])
