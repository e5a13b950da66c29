"""Names of points and runs say what they are for, and nothing else changes them."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain import names

SLOT = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
TEXTS = st.text(st.characters(codec="ascii", exclude_characters="\n"), min_size=1, max_size=40)
INSTANTS = st.datetimes(timezones=st.just(UTC))


def test_a_point_has_the_same_name_in_every_time_zone():
    berlin = SLOT.astimezone(ZoneInfo("Europe/Berlin"))

    assert names.point_id("web", berlin, "i-1") == names.point_id("web", SLOT, "i-1")


def test_the_name_of_a_point_does_not_change_between_releases():
    assert names.point_id("web-daily", SLOT, "i-0a") == "pt-c6c6242f491cff479918"
    assert names.run_id("web-daily", SLOT) == "run-89d637eba39cab092636"


@given(TEXTS, TEXTS, INSTANTS, INSTANTS)
def test_points_of_different_sources_policies_or_slots_have_different_names(a, b, one, other):
    if a != b:
        assert names.point_id(a, one, "i-1") != names.point_id(b, one, "i-1")
        assert names.point_id("p", one, a) != names.point_id("p", one, b)
    if names.instant(one) != names.instant(other):
        assert names.point_id("p", one, "i-1") != names.point_id("p", other, "i-1")


@given(INSTANTS, INSTANTS)
def test_instants_sort_as_texts_as_they_do_as_times(one, other):
    one, other = one.replace(microsecond=0), other.replace(microsecond=0)

    assert (names.instant(one) < names.instant(other)) == (one < other)


def test_an_instant_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="has no time zone"):
        names.instant(SLOT.replace(tzinfo=None))


def test_an_instant_is_written_in_utc():
    east = SLOT.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert names.instant(east) == "2026-03-01T02:00:00Z"


@given(TEXTS, st.integers(1, 64))
def test_a_shard_is_stable_and_within_its_number(name, shards):
    assert 0 <= names.shard(name, shards) < shards
    assert names.shard(name, shards) == names.shard(name, shards)
