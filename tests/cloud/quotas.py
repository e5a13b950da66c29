"""Service Quotas as far as Lastgood asks: the slots of copies, which moto does not have.

Source: Service Quotas API Reference, ListServiceQuotas; the name is that of the console.
"""

import json
from typing import Any

from moto.servicequotas.responses import ServiceQuotasResponse

from tests.cloud.ec2 import Conditions
from tests.cloud.ec2.patches import Patches

COPIES = "Concurrent snapshot copies per destination Region"


def install(patches: Patches, conditions: Conditions) -> None:
    def list_service_quotas(response: Any) -> str:
        of_ebs = json.loads(response.body)["ServiceCode"] == "ebs"
        slots = {"QuotaName": COPIES, "Value": float(conditions.copy_slots), "Adjustable": False}
        other = {"QuotaName": "Archived snapshots per volume", "Value": 25.0, "Adjustable": True}
        return json.dumps({"Quotas": [other, slots] if of_ebs else []})

    patches.set(ServiceQuotasResponse, "list_service_quotas", list_service_quotas)
