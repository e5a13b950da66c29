"""What Lastgood needs in a further Region that has sources, and no copies."""

from typing import Any

from aws_cdk import Stack
from constructs import Construct

from infra.constructs.forwarder import Forwarder


class ForwarderStack(Stack):
    """EBS's events there come home."""

    def __init__(self, scope: Construct, construct_id: str, *, home: str, **kwargs: Any) -> None:
        super().__init__(
            scope,
            construct_id,
            description=f"Lastgood: forwards EBS's events to {home}.",
            **kwargs,
        )
        Forwarder(self, "Forwarder", home=home)
