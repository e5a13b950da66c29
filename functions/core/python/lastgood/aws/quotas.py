"""What an account may do at one time, from Service Quotas."""

from typing import Any

from lastgood.aws.faults import translated

COPIES = "Concurrent snapshot copies per destination Region"
"""By name (EBS User Guide, "Quotas for Amazon EBS"): AWS does not publish its code."""


def copy_slots(client: Any) -> int | None:
    """How many copies may come into the client's Region at one time; None if it does not say."""
    pages = client.get_paginator("list_service_quotas").paginate(ServiceCode="ebs")
    with translated("service-quotas", f"read the quotas of EBS in {client.meta.region_name}"):
        for page in pages:
            for one in page["Quotas"]:
                if one.get("QuotaName") == COPIES:
                    return int(one["Value"])
    return None
