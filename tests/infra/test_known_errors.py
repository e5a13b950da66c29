"""No function may make a call whose errors have no place in the table of errors."""

from infra import grants
from lastgood.aws.faults import MEANINGS
from tests.support.error_table import CALLED, EC2_CALLED

BY_AWS_FOR_US = {
    # Lambda, which feeds a function from its queue
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
    # DynamoDB, in a transaction
    "dynamodb:ConditionCheckItem",
    # Whoever hands over a role: EC2 and Scheduler look whether we may
    "iam:PassRole",
    # EC2, in GetLaunchTemplateData
    "ec2:DescribeInstanceAttribute",
    "ec2:DescribeInstanceCreditSpecifications",
    "ec2:DescribeSpotInstanceRequests",
    # DynamoDB, SQS, SNS, S3, Secrets Manager and EC2, with keys
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
}
OPERATIONS = {"lambda:InvokeFunction": "lambda:Invoke"}
"""Where the action of IAM has another name than the operation."""
SERVICES = {"servicequotas": "service-quotas", "states": "stepfunctions"}
"""Where IAM has another name for the service than boto3."""


def test_every_call_that_a_role_is_granted_is_one_whose_errors_are_known():
    granted = {
        _operation(action)
        for grant in vars(grants).values()
        if isinstance(grant, grants.Grant) and grant.to is None
        for right in grant.rights
        for action in right.actions
        if _operation(action).split(":")[0] in MEANINGS
    }
    known = {
        f"{service}:{operation}"
        for service, operations in {**CALLED, "ec2": EC2_CALLED}.items()
        for operation in operations
    }

    assert granted - BY_AWS_FOR_US <= known


def _operation(action: str) -> str:
    service, _, operation = OPERATIONS.get(action, action).partition(":")
    return f"{SERVICES.get(service, service)}:{operation}"
