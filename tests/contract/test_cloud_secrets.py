"""Secrets Manager in the test cloud: made by CloudFormation, read with a right and a key."""

import json
from typing import Any

import pytest

from tests.contract.workbench import Bench


def stack(bench: Bench, **properties: Any) -> str:
    """The ARN of a new secret."""
    resources = {
        "S": {
            "Type": "AWS::SecretsManager::Secret",
            "Properties": {"Name": bench.name("secret"), **properties},
        }
    }
    made = bench.stack(resources, Outputs={"Arn": {"Value": {"Ref": "S"}}})
    assert made["StackStatus"] == "CREATE_COMPLETE", made
    return str(made["Outputs"][0]["OutputValue"])


def value(bench: Bench, arn: str) -> str:
    return str(bench.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])


def reading(arn: str) -> dict[str, Any]:
    return {"calls": [("secretsmanager", "get_secret_value", {"SecretId": arn})]}


def test_a_value_is_made_up_and_another_can_be_put(bench: Bench) -> None:
    arn = stack(bench, GenerateSecretString={"PasswordLength": 40, "ExcludePunctuation": True})
    assert len(value(bench, arn)) == 40

    bench.client("secretsmanager").put_secret_value(SecretId=arn, SecretString="given")

    assert value(bench, arn) == "given"


def test_a_template_gets_the_made_up_value_under_its_key(bench: Bench) -> None:
    how = {"SecretStringTemplate": '{"user": "ada"}', "GenerateStringKey": "token"}

    made = json.loads(value(bench, stack(bench, GenerateSecretString=how)))

    assert (made["user"], len(made["token"])) == ("ada", 32)


@pytest.mark.parametrize("by", ["arn", "name"])
def test_a_role_needs_a_right_on_the_secret_however_it_is_named(bench: Bench, by: str) -> None:
    arn = stack(bench)
    named = arn if by == "arn" else bench.name("secret")
    other = Bench(bench.cloud)

    assert bench.invoke(bench.function(("secretsmanager:*", arn)), reading(named)) is None
    refused = other.invoke(other.function(), reading(named))
    assert f"secretsmanager:GetSecretValue on resource: {arn}" in refused["errorMessage"]


def test_a_secret_with_a_key_needs_the_key_as_well(bench: Bench) -> None:
    key = bench.key()
    arn = stack(bench, KmsKeyId=key)
    right = ("secretsmanager:GetSecretValue", arn)
    other = Bench(bench.cloud)

    refused = bench.invoke(bench.function(right), reading(arn))

    assert "kms:Decrypt" in refused["errorMessage"]
    assert other.invoke(other.function(right, ("kms:Decrypt", key)), reading(arn)) is None


def test_a_value_in_the_template_is_refused(bench: Bench) -> None:
    properties = {"SecretString": "open"}
    made = bench.stack({"S": {"Type": "AWS::SecretsManager::Secret", "Properties": properties}})

    assert made["StackStatus"] == "ROLLBACK_COMPLETE"


def test_in_process_a_secret_can_be_read_too(cloud: Any) -> None:
    secrets = cloud.client("secretsmanager", "eu-west-1")
    secrets.create_secret(Name="s", SecretString="x")

    assert secrets.get_secret_value(SecretId="s")["SecretString"] == "x"
