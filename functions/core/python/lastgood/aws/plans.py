"""S3: the parts of plans, as JSON that people can read."""

import json
from typing import Any

from lastgood.aws.faults import translated
from lastgood.codec import structure, unstructure
from lastgood.domain.prune_plan import Part
from lastgood.errors import AlreadyDone, UnknownTarget


class S3Plans:
    """``Plans`` in one bucket."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, part: Part) -> None:
        body = json.dumps(unstructure(part), indent=1).encode()
        with translated("s3", f"store part {part.number} of {part.plan}"):
            self._client.put_object(
                Bucket=self._bucket,
                Key=_key(part.policy, part.plan, part.number),
                Body=body,
                ContentType="application/json",
            )

    def get(self, policy: str, plan: str, part: int) -> Part:
        what = f"read part {part} of {plan}"
        try:
            with translated("s3", what):
                reply = self._client.get_object(Bucket=self._bucket, Key=_key(policy, plan, part))
                body = reply["Body"].read()
        except AlreadyDone as error:
            raise UnknownTarget(f"{what}: it is not stored any more; make a new plan") from error
        return structure(json.loads(body), Part)

    def place(self, policy: str, plan: str) -> str:
        return f"s3://{self._bucket}/{_folder(policy, plan)}/"


def _key(policy: str, plan: str, part: int) -> str:
    return f"{_folder(policy, plan)}/{part:06}.json"


def _folder(policy: str, plan: str) -> str:
    return f"plans/{policy}/{plan}"
