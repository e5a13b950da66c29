"""The bus on which Lastgood tells what became of recovery points."""

from aws_cdk import aws_events as events
from constructs import Construct

NAME = "lastgood"


class AnnouncementBus(Construct):
    """Subscribers put their rules on it. Its events name resources and hold no data of theirs, so
    AWS's own key will do: a key of ours would have to be shared with each subscriber's account."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.bus = events.EventBus(
            self,
            "Bus",
            event_bus_name=NAME,
            description="Lastgood: recovery points that are available or have failed",
        )
