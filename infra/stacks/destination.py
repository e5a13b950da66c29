"""What Lastgood needs in a further Region that copies go to, for a restore without home."""

from typing import Any

from aws_cdk import Stack
from constructs import Construct

from infra.constructs.forwarder import Forwarder
from infra.constructs.key import retained_key


class DestinationStack(Stack):
    """EBS's events there come home, as a ``ForwarderStack``'s do; its key encrypts the ledger's
    replica, which the state stack makes, and the copies of policies that ask for it.

    The key stays when the stack goes: replica and copies could not be read without it.
    """

    def __init__(self, scope: Construct, construct_id: str, *, home: str, **kwargs: Any) -> None:
        super().__init__(
            scope,
            construct_id,
            description=f"Lastgood: a key for what is copied here, and events sent to {home}.",
            **kwargs,
        )
        Forwarder(self, "Forwarder", home=home)
        retained_key(self, "Key", description="Lastgood: the ledger's replica, and copies")
