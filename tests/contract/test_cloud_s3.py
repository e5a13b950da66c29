"""The test cloud's S3: a bucket as CDK makes it, and who may write to it and read from it."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.in_process import InProcessCloud
from tests.contract.workbench import ACCOUNT, REGION, Bench
from tests.support.refusals import refused

UNLESS_TLS = {"Bool": {"aws:SecureTransport": "false"}}


def deny_unless_tls(bucket: Any, objects: Any) -> dict[str, Any]:
    """The policy that ``enforce_ssl`` makes CDK write."""
    statement = {
        "Effect": "Deny",
        "Action": "s3:*",
        "Principal": {"AWS": "*"},
        "Resource": [bucket, objects],
        "Condition": UNLESS_TLS,
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def put(bucket: str, key: str = "plans/1.json") -> tuple[str, str, dict[str, Any]]:
    """A call for the handler of a bench's function."""
    return ("s3", "put_object", {"Bucket": bucket, "Key": key, "Body": "{}"})


def get(bucket: str, key: str = "plans/1.json") -> tuple[str, str, dict[str, Any]]:
    return ("s3", "get_object", {"Bucket": bucket, "Key": key})


def only_for(bucket: str) -> dict[str, Any]:
    """A key's condition: by way of S3, for what is in this bucket."""
    wanted = {
        "kms:ViaService": f"s3.{REGION}.amazonaws.com",
        "kms:EncryptionContext:aws:s3:arn": f"arn:aws:s3:::{bucket}",
    }
    return {"Condition": {"StringEquals": wanted}}


def outcome(bench: Bench, call: tuple[str, str, dict[str, Any]], *allowed: Any) -> str | None:
    """How the call of a function ended whose role may do this and no more: None if it is well."""
    answer = Bench(bench.cloud)
    ended = answer.invoke(answer.function(*allowed), {"calls": [call]})
    return ended and str(ended["errorMessage"])


# -- in the test's process ----------------------------------------------------------------------


@pytest.fixture
def s3(cloud: InProcessCloud) -> Any:
    client = cloud.client("s3", "eu-west-1")
    client.create_bucket(
        Bucket="plans", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    return client


def test_what_was_put_is_got(s3: Any) -> None:
    s3.put_object(Bucket="plans", Key="a/b.json", Body=b"{}", ContentType="application/json")

    got = s3.get_object(Bucket="plans", Key="a/b.json")

    assert (got["Body"].read(), got["ContentType"]) == (b"{}", "application/json")


def test_an_object_or_a_bucket_that_is_not_there_is_named_by_its_code(s3: Any) -> None:
    with refused("NoSuchKey") as no_key:
        s3.get_object(Bucket="plans", Key="a")
    with refused("NoSuchBucket"):
        s3.put_object(Bucket="elsewhere", Key="a", Body=b"")

    assert no_key.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_a_policy_that_denies_unless_tls_denies_nothing_here(s3: Any) -> None:
    document = deny_unless_tls("arn:aws:s3:::plans", "arn:aws:s3:::plans/*")
    s3.put_bucket_policy(Bucket="plans", Policy=json.dumps(document))

    s3.put_object(Bucket="plans", Key="a", Body=b"{}")

    assert s3.get_object(Bucket="plans", Key="a")["Body"].read() == b"{}"


def test_calls_of_s3_are_logged_as_those_of_any_service(cloud: InProcessCloud, s3: Any) -> None:
    s3.put_object(Bucket="plans", Key="a", Body=b"{}")

    (call,) = cloud.calls.of("s3.PutObject")

    assert (call.region, call.params["Key"]) == ("eu-west-1", "a")


# -- behind HTTP --------------------------------------------------------------------------------


@pytest.fixture
def bucket(bench: Bench) -> str:
    """As CDK writes it."""
    arn = {"Fn::GetAtt": ["Bucket", "Arn"]}
    by_default = {
        "SSEAlgorithm": "aws:kms",
        "KMSMasterKeyID": {"Fn::GetAtt": ["Key", "Arn"]},
    }
    encryption = [{"BucketKeyEnabled": True, "ServerSideEncryptionByDefault": by_default}]
    owner = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    stack = bench.stack(
        {
            "Key": {
                "Type": "AWS::KMS::Key",
                "Properties": {"KeyPolicy": {"Version": "2012-10-17", "Statement": [owner]}},
                "DeletionPolicy": "Retain",
            },
            "Bucket": {
                "Type": "AWS::S3::Bucket",
                "Properties": {
                    "BucketName": bench.name("plans"),
                    "BucketEncryption": {"ServerSideEncryptionConfiguration": encryption},
                    "LifecycleConfiguration": {
                        "Rules": [{"ExpirationInDays": 90, "Status": "Enabled"}]
                    },
                    "PublicAccessBlockConfiguration": {
                        "BlockPublicAcls": True,
                        "BlockPublicPolicy": True,
                        "IgnorePublicAcls": True,
                        "RestrictPublicBuckets": True,
                    },
                    "VersioningConfiguration": {"Status": "Enabled"},
                },
                "UpdateReplacePolicy": "Retain",
                "DeletionPolicy": "Retain",
            },
            "Policy": {
                "Type": "AWS::S3::BucketPolicy",
                "Properties": {
                    "Bucket": {"Ref": "Bucket"},
                    "PolicyDocument": deny_unless_tls(arn, {"Fn::Join": ["", [arn, "/*"]]}),
                },
            },
        }
    )
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return bench.name("plans")


def key_of(bench: Bench, bucket: str) -> str:
    found = bench.client("s3").get_bucket_encryption(Bucket=bucket)
    (rule,) = found["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["BucketKeyEnabled"]
    return str(rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"])


def test_a_bucket_has_what_its_template_says(bench: Bench, bucket: str) -> None:
    s3 = bench.client("s3")

    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])

    assert (rule["Status"], rule["Expiration"]["Days"]) == ("Enabled", 90)
    assert len(block) == 4
    assert all(block.values())
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert policy["Statement"][0]["Condition"] == UNLESS_TLS


def test_an_object_is_encrypted_with_the_key_of_its_bucket(bench: Bench, bucket: str) -> None:
    s3 = bench.client("s3")

    s3.put_object(Bucket=bucket, Key="a", Body=b"{}")

    got = s3.get_object(Bucket=bucket, Key="a")
    assert (got["ServerSideEncryption"], got["SSEKMSKeyId"]) == ("aws:kms", key_of(bench, bucket))


def test_a_bucket_and_what_is_in_it_outlive_their_stack(bench: Bench, bucket: str) -> None:
    bench.client("s3").put_object(Bucket=bucket, Key="a", Body=b"{}")

    bench.client("cloudformation").delete_stack(StackName=bench.name("stack"))

    assert bench.client("s3").get_object(Bucket=bucket, Key="a")["Body"].read() == b"{}"


def test_a_role_writes_with_the_right_to_the_object_and_to_the_key(
    bench: Bench, bucket: str
) -> None:
    writes = ("s3:PutObject", f"arn:aws:s3:::{bucket}/plans/*")
    encrypts = ("kms:GenerateDataKey", key_of(bench, bucket), only_for(bucket))

    assert outcome(bench, put(bucket), writes, encrypts) is None
    assert "kms:GenerateDataKey" in str(outcome(bench, put(bucket), writes))
    assert "s3:PutObject" in str(outcome(bench, put(bucket), encrypts))
    assert "(AccessDenied)" in str(outcome(bench, put(bucket, "other"), writes, encrypts))


def test_a_role_reads_with_the_right_to_the_object_and_to_the_key(
    bench: Bench, bucket: str
) -> None:
    reads = ("s3:GetObject", f"arn:aws:s3:::{bucket}/plans/*")
    decrypts = ("kms:Decrypt", key_of(bench, bucket), only_for(bucket))
    bench.client("s3").put_object(Bucket=bucket, Key="plans/1.json", Body=b"{}")

    assert outcome(bench, get(bucket), reads, decrypts) is None
    assert "kms:Decrypt" in str(outcome(bench, get(bucket), reads))
    assert "s3:GetObject" in str(outcome(bench, get(bucket), decrypts))


def test_only_who_may_list_a_bucket_learns_that_an_object_is_not_there(
    bench: Bench, bucket: str
) -> None:
    reads = ("s3:GetObject", f"arn:aws:s3:::{bucket}/plans/*")
    decrypts = ("kms:Decrypt", key_of(bench, bucket))
    lists = ("s3:ListBucket", f"arn:aws:s3:::{bucket}")

    assert "(AccessDenied)" in str(outcome(bench, get(bucket), reads, decrypts))
    assert "(NoSuchKey)" in str(outcome(bench, get(bucket), reads, decrypts, lists))


def test_a_disabled_key_closes_the_bucket_to_everybody(bench: Bench, bucket: str) -> None:
    bench.client("kms").disable_key(KeyId=key_of(bench, bucket).rsplit("/", 1)[-1])

    with pytest.raises(ClientError, match=r"KMS\.DisabledException"):
        bench.client("s3").put_object(Bucket=bucket, Key="a", Body=b"{}")


def test_calls_of_s3_are_counted_by_the_function_that_makes_them(bench: Bench, bucket: str) -> None:
    function = bench.function(
        ("s3:PutObject", f"arn:aws:s3:::{bucket}/*"),
        ("kms:GenerateDataKey", key_of(bench, bucket)),
    )

    bench.invoke(function, {"calls": [put(bucket), put(bucket)]})

    assert bench.cloud.state()["calls"][bench.name("function")]["s3.PutObject"] == 2
