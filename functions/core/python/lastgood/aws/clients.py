"""boto3 clients, one for each service, Region, way of retrying and session."""

from functools import cache, lru_cache
from typing import Any

import boto3
from botocore.config import Config

from lastgood.aws.accounts import Credentials

_BASE = Config(connect_timeout=5, read_timeout=20)
"""Seconds. A CreateSnapshots call for 128 volumes answers within a few."""

PATIENT = _BASE.merge(Config(retries={"mode": "standard", "total_max_attempts": 5}))
"""For what may be said twice: reads, conditional writes, sends."""

ONCE = _BASE.merge(Config(retries={"mode": "standard", "total_max_attempts": 1}))
"""For what has no client token: a second try after a lost reply would make a second set."""


@cache
def hasty(seconds: float) -> Config:
    """For who cannot wait longer for an answer; nothing is said twice."""
    return ONCE.merge(Config(connect_timeout=1, read_timeout=seconds))


@lru_cache(maxsize=64)
def client(
    service: str, region: str, config: Config = PATIENT, credentials: Credentials | None = None
) -> Any:
    """``credentials``: of a role in another account; none: the function's own."""
    if credentials is None:
        return boto3.client(service, region_name=region, config=config)
    return boto3.client(
        service,
        region_name=region,
        config=config,
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        aws_session_token=credentials.token,
    )
