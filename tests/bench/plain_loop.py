"""The script that people write: a snapshot of every volume of every instance with a tag."""

import sys

import boto3
from botocore.exceptions import ClientError

ec2 = boto3.client("ec2")
failed = 0
pages = ec2.get_paginator("describe_instances").paginate(
    Filters=[{"Name": "tag:backup", "Values": ["daily"]}]
)
for page in pages:
    for reservation in page["Reservations"]:
        for instance in reservation["Instances"]:
            attached = [{"Name": "attachment.instance-id", "Values": [instance["InstanceId"]]}]
            for volume in ec2.describe_volumes(Filters=attached)["Volumes"]:
                tags = [{"Key": "instance", "Value": instance["InstanceId"]}]
                try:
                    ec2.create_snapshot(
                        VolumeId=volume["VolumeId"],
                        Description=f"backup of {instance['InstanceId']}",
                        TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}],
                    )
                except ClientError as error:
                    print(volume["VolumeId"], error)
                    failed += 1
sys.exit(failed > 0)
