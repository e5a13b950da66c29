"""The topic on which people are told: by alarms, and by the functions that found something."""

from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra import grants
from infra.grants import Places

NAME = "lastgood-notices"


class NoticesTopic(Construct):
    """``topic`` takes no unencrypted calls. ``email`` gets everything that is told on it, once its
    owner has confirmed that; other subscribers subscribe by themselves."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        key: kms.IKey,
        places: Places,
        email: str | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.topic = sns.Topic(
            self,
            "Topic",
            topic_name=NAME,
            display_name="Lastgood",
            master_key=key,
            enforce_ssl=True,
        )
        here = Places(
            partition=places.partition,
            account=places.account,
            region=places.region,
            topic=self.topic.topic_arn,
        )
        for statement in grants.RECEIVE_ALARMS.statements(here):
            self.topic.add_to_resource_policy(statement)
        if email:
            sns.CfnSubscription(
                self, "Email", topic_arn=self.topic.topic_arn, protocol="email", endpoint=email
            )
