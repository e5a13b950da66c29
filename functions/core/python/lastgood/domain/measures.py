"""Every metric of Lastgood, once: functions emit them, alarms and the dashboard read them."""

from enum import StrEnum

NAMESPACE = "Lastgood"


class Measure(StrEnum):
    """Each has the dimension ``service``, the function's name, and those named here."""

    POINTS_PLANNED = "PointsPlanned"
    """By policy: points that a planning asked for."""
    SOURCES_LEFT_OUT = "SourcesLeftOut"
    """By policy and reason: sources whose tags match and that were not taken."""
    POINTS_CREATED = "PointsCreated"
    """By policy: points whose snapshots EC2 has begun."""
    POINTS_AVAILABLE = "PointsAvailable"
    """By policy."""
    POINTS_FAILED = "PointsFailed"
    """By policy."""
    SECONDS_TO_AVAILABLE = "SecondsToAvailable"
    """By policy: from the slot to the end of the last snapshot."""
    POINTS_IN_FLIGHT = "PointsInFlight"
    """Points that are creating or pending, at each sweep."""
    POINTS_STUCK = "PointsStuck"
    """Points that a sweep found without a worker, at each sweep."""
    SLOTS_CAUGHT_UP = "SlotsCaughtUp"
    """By policy: slots that a sweep asked for, because nobody else had."""
    SURPLUS_REMOVED = "SurplusRemoved"
    """Snapshots that were made twice for one point, and removed."""
    POINTS_REBUILT = "PointsRebuilt"
    """Points that were written anew from the tags of their snapshots."""
    SOURCES_PAST_RPO = "SourcesPastRpo"
    """By policy: sources without an available point for longer than the policy allows."""
    ERRORS = "Errors"
    """By error: what was refused, or given up at its last delivery."""
    RETRIES = "Retries"
    """By error: what will be tried again without anybody's doing."""
