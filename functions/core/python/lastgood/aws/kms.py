"""Whether a copy can be encrypted with a key: EBS itself says so only after a while, in the copy's
``StateMessage``."""

from typing import Any

from lastgood.aws.faults import translated
from lastgood.errors import KeyDenied


def key_problem(client: Any, key: str) -> str | None:
    """What is wrong with it in the client's Region, for people; None if nothing is."""
    region = client.meta.region_name
    try:
        with translated("kms", f"look at the key {key} in {region}"):
            found = client.describe_key(KeyId=key)["KeyMetadata"]
    except KeyDenied as error:
        return str(error)
    if found["KeyState"] == "Enabled":
        return None
    return f"the key {key} in {region} is {found['KeyState']}: enable it, or name another kms_key"
