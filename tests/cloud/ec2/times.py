"""The two ways EC2 writes an instant: in filters with milliseconds, in events without."""

from datetime import UTC, datetime


def _utc(instant: datetime) -> datetime:
    # moto keeps naive UTC
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def iso(instant: datetime) -> str:
    return _utc(instant).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def event_time(instant: datetime) -> str:
    return _utc(instant).strftime("%Y-%m-%dT%H:%M:%SZ")
