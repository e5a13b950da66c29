"""Which point of a source is meant, and where it is to be had."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain import choosing
from lastgood.domain.choosing import Candidate, Wish
from lastgood.domain.copying import CopyMember, CopyStatus, PointCopy
from lastgood.domain.model import PointStatus
from lastgood.domain.names import copy_id, point_id
from lastgood.domain.place import Place
from lastgood.errors import CannotRestore, MalformedMessage
from tests.support.builders import POLICY, SOURCE, T0, a_member, a_point

HOME = SOURCE.place
ABROAD = Place(region="eu-central-1", account=SOURCE.account)
VIENNA = ZoneInfo("Europe/Vienna")
NOW = T0 + timedelta(hours=7)


def a_candidate(number=0, taken_at=T0, places=(HOME,), **facts):
    defaults = {"policy": POLICY, "slot": taken_at, "lacks": "" if places else "is failed"}
    return Candidate(id=f"pt-{number:020x}", taken_at=taken_at, places=places, **defaults | facts)


def choose(every, text="latest", zone=UTC, now=NOW):
    every = sorted(every, key=lambda one: (one.taken_at, one.id), reverse=True)
    return choosing.choose(every, choosing.wish(text, zone), zone, now)


def refusal(every, text="latest", zone=UTC):
    with pytest.raises(CannotRestore) as refused:
        choose(every, text, zone)
    (problem,) = refused.value.problems
    return problem


# -- what is wished ---------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "latest", " Latest ", "last", "newest"])
def test_the_latest_is_wished_by_several_words(text):
    assert choosing.wish(text, UTC) == Wish()


@pytest.mark.parametrize(
    "text",
    [
        "before 2026-11-20T09:00+01:00",
        "Before 2026-11-20T09:00+01:00",
        "before 2026-11-20 09:00",
        "at 2026-11-20T09:00",
        "2026-11-20T08:00Z",
    ],
)
def test_a_time_without_an_offset_is_of_the_zone_of_the_policy(text):
    wished = choosing.wish(text, VIENNA)

    assert wished.until == datetime(2026, 11, 20, 8, tzinfo=UTC)
    assert (wished.point, wished.day) == (None, None)


def test_before_a_date_is_before_it_begins_in_the_zone():
    assert choosing.wish("before 2026-11-20", VIENNA).until == datetime(
        2026, 11, 19, 23, tzinfo=UTC
    )


def test_a_date_is_the_whole_day():
    assert choosing.wish("2026-11-20", VIENNA) == Wish(day=date(2026, 11, 20))


def test_an_id_is_a_point():
    id_ = point_id(POLICY, T0, SOURCE.id)

    assert choosing.wish(id_, UTC) == Wish(point=id_)


@pytest.mark.parametrize("text", ["yesterday", "before noon", "pt-1", "rs-0123456789abcdef0123"])
def test_what_is_not_understood_is_refused_with_what_is(text):
    with pytest.raises(MalformedMessage) as refused:
        choosing.wish(text, UTC)

    assert str(refused.value) == (
        f"point: {text!r} is not understood; write latest, a point's id (pt-...), a date "
        "(2026-11-20), or before 2026-11-20T09:00+01:00"
    )


def test_a_date_that_there_is_not_is_refused():
    with pytest.raises(MalformedMessage, match=r"^point: '2026-02-30' is no date"):
        choosing.wish("2026-02-30", UTC)


@given(st.text(), st.sampled_from([UTC, VIENNA, ZoneInfo("Pacific/Kiritimati")]))
def test_any_text_is_a_wish_or_refused(text, zone):
    with suppress(MalformedMessage):
        wished = choosing.wish(text, zone)
        assert sum(one is not None for one in (wished.point, wished.until, wished.day)) <= 1


# -- what is chosen ---------------------------------------------------------------------------


def test_the_latest_that_is_available_is_chosen_and_newer_ones_are_told():
    good = a_candidate(1)
    failed = a_candidate(2, T0 + timedelta(hours=1), places=(), lacks="is failed: no quota")
    pending = a_candidate(3, T0 + timedelta(hours=2), places=(), lacks="is pending")

    chosen = choose([good, failed, pending])

    assert chosen.candidate == good
    assert chosen.why == (
        "taken 2026-03-01T02:00:00Z, 7 h 0 min ago: the newest of 1 that are available"
    )
    assert chosen.notes == (
        f"{pending.id} of 2026-03-01T04:00:00Z is newer and does not count: it is pending",
        f"{failed.id} of 2026-03-01T03:00:00Z is newer and does not count: it is failed: no quota",
    )


def test_of_many_newer_ones_that_do_not_count_three_are_told():
    failed = [a_candidate(n, T0 + timedelta(hours=n), places=()) for n in range(1, 9)]

    assert len(choose([a_candidate(9), *failed]).notes) == 3


def test_a_point_is_chosen_by_its_id_though_there_are_newer_ones():
    old = a_candidate(1)

    chosen = choose([old, a_candidate(2, T0 + timedelta(hours=1))], old.id)

    assert chosen.candidate == old
    assert chosen.why == "taken 2026-03-01T02:00:00Z, 7 h 0 min ago: asked for by its id"


def test_before_a_time_includes_the_very_instant():
    first, second = a_candidate(1), a_candidate(2, T0 + timedelta(hours=1))

    at_the_second = choose([first, second], "before 2026-03-01T03:00Z")
    sooner = choose([first, second], "before 2026-03-01T02:59:59Z")

    assert at_the_second.candidate == second
    assert sooner.candidate == first
    assert sooner.why.endswith("available until 2026-03-01T02:59:59+00:00")


def test_what_counts_is_when_a_point_was_taken_not_its_slot():
    late = a_candidate(1, T0 + timedelta(hours=2), slot=T0)

    problem = refusal([late], "before 2026-03-01T03:00Z")

    assert problem == (
        "point: none that is available until 2026-03-01T03:00:00+00:00; available are "
        f"{late.id} (2026-03-01T04:00:00Z)"
    )


SPRING = [
    # Vienna goes from 01:59:59+01:00 to 03:00:00+02:00 on 2026-03-29, a day of 23 hours.
    ("2026-03-28", "2026-03-28T22:59:59Z", True),
    ("2026-03-29", "2026-03-28T23:00:00Z", True),
    ("2026-03-29", "2026-03-29T21:59:59Z", True),
    ("2026-03-29", "2026-03-29T22:00:00Z", False),
    ("2026-03-30", "2026-03-29T22:00:00Z", True),
]
AUTUMN = [
    # And from 02:59:59+02:00 to 02:00:00+01:00 on 2026-10-25, a day of 25 hours.
    ("2026-10-24", "2026-10-24T21:59:59Z", True),
    ("2026-10-25", "2026-10-24T22:00:00Z", True),
    ("2026-10-25", "2026-10-25T22:59:59Z", True),
    ("2026-10-25", "2026-10-25T23:00:00Z", False),
]


@pytest.mark.parametrize(("day", "taken", "fits"), [*SPRING, *AUTUMN])
def test_a_date_is_a_day_of_the_policys_zone_also_when_the_clocks_change(day, taken, fits):
    one = a_candidate(1, datetime.fromisoformat(taken))

    if fits:
        assert choose([one], day, VIENNA).candidate == one
    else:
        assert refusal([one], day, VIENNA).startswith(
            f"point: none that is available of {day} (Europe/Vienna); available are {one.id}"
        )


def test_of_a_time_that_a_clock_shows_twice_the_first_is_meant():
    between = a_candidate(1, datetime(2026, 10, 25, 1, 0, tzinfo=UTC))
    before = a_candidate(2, datetime(2026, 10, 25, 0, 15, tzinfo=UTC))

    chosen = choose([between, before], "before 2026-10-25T02:30", VIENNA)

    assert chosen.candidate == before


# -- what cannot be chosen --------------------------------------------------------------------


def test_without_any_point_there_is_nothing_to_choose():
    assert refusal([]) == (
        "point: the source has no recovery point on record; see that a policy selects it"
    )


def test_if_none_is_available_it_says_what_the_newest_lacks():
    one = a_candidate(1, places=(), lacks="is failed: no quota")

    assert refusal([one]) == (
        f"point: none is available ({one.id} is failed: no quota); none of its points is available"
    )


def test_a_point_of_another_source_is_refused_with_those_there_are():
    one, other = a_candidate(1), f"pt-{7:020x}"

    assert refusal([one], other) == (
        f"point: {other} is not of this source; available are {one.id} (2026-03-01T02:00:00Z)"
    )


def test_a_point_that_failed_is_refused_with_its_cause():
    bad, good = a_candidate(1, places=(), lacks="is failed: no quota"), a_candidate(2)

    assert refusal([bad, good], bad.id) == (
        f"point: {bad.id} is failed: no quota; available are {good.id} (2026-03-01T02:00:00Z)"
    )


def test_a_day_without_points_is_refused_with_those_of_others():
    one = a_candidate(1)

    assert refusal([one], "2026-02-27") == (
        "point: none that is available of 2026-02-27 (UTC); available are "
        f"{one.id} (2026-03-01T02:00:00Z)"
    )


# -- candidates -------------------------------------------------------------------------------


def a_copy(point, place=ABROAD, status=CopyStatus.AVAILABLE, **facts):
    defaults = {
        "id": copy_id(point.id, place.region, place.account),
        "point": point.id,
        "policy": POLICY,
        "run": point.run,
        "slot": point.slot,
        "source": SOURCE,
        "place": place,
        "taken_at": point.taken_at or point.slot,
        "queued_at": T0,
        "status": status,
        "members": (
            CopyMember(of="snap-1", volume="vol-1", size_gib=8, encrypted=True, snapshot="snap-9"),
        ),
    }
    return PointCopy(**defaults | facts)


def test_a_point_is_where_it_was_taken_and_where_its_copies_are():
    point = a_point(status=PointStatus.AVAILABLE)

    (found,) = choosing.candidates([point], [a_copy(point)], {})

    assert found.places == (HOME, ABROAD)
    assert found.lacks == ""


def test_a_point_that_is_not_available_says_why():
    failed = a_point(status=PointStatus.FAILED, cause="no quota")

    (found,) = choosing.candidates([failed], [], {})

    assert (found.places, found.lacks) == ((), "is failed: no quota")


def test_a_copy_stands_for_a_point_that_is_expired_and_for_one_that_is_not_on_record():
    point = a_point(status=PointStatus.EXPIRED)

    for points in ([point], []):
        (found,) = choosing.candidates(points, [a_copy(point)], {})

        assert found.id == point.id
        assert found.places == (ABROAD,)
        assert found.lacks == ""


@pytest.mark.parametrize("status", [one for one in CopyStatus if one is not CopyStatus.AVAILABLE])
def test_a_copy_that_is_not_available_is_no_place(status):
    point = a_point(status=PointStatus.AVAILABLE)

    (with_point,) = choosing.candidates([point], [a_copy(point, status=status)], {})
    (alone,) = choosing.candidates([], [a_copy(point, status=status)], {})

    assert with_point.places == (HOME,)
    assert (alone.places, alone.lacks) == ((), f"its copy is {status}")


def test_a_copy_in_place_of_its_members_is_no_second_place():
    point = a_point(status=PointStatus.AVAILABLE)

    (found,) = choosing.candidates([point], [a_copy(point, place=HOME)], {})

    assert found.places == (HOME,)


def test_a_point_without_snapshots_counts_from_its_slot():
    (found,) = choosing.candidates([a_point(members=())], [], {})

    assert found.taken_at == T0


# -- whatever there is ------------------------------------------------------------------------

MOMENTS = st.integers(0, 72).map(lambda hours: T0 - timedelta(hours=hours))
PLACES = st.sampled_from([(), (HOME,), (ABROAD,), (HOME, ABROAD)])
EVERY = st.lists(st.tuples(MOMENTS, PLACES), min_size=1, max_size=12).map(
    lambda all_: [a_candidate(n, taken, places) for n, (taken, places) in enumerate(all_)]
)
TEXTS = st.sampled_from(
    ["latest", "2026-02-27", "2026-02-28", "before 2026-02-28T05:00", "before 2026-02-27T00:00Z"]
)


@given(EVERY, TEXTS, st.sampled_from([UTC, VIENNA]))
def test_the_chosen_one_is_the_newest_that_fits_and_is_available(every, text, zone):
    wished = choosing.wish(text, zone)

    def fits(one):
        if wished.day:
            return one.taken_at.astimezone(zone).date() == wished.day
        return wished.until is None or one.taken_at <= wished.until

    good = [one for one in every if one.places and fits(one)]
    if not good:
        refusal(every, text, zone)
        return
    chosen = choose(every, text, zone)
    assert chosen.candidate == max(good, key=lambda one: (one.taken_at, one.id))
    newer = [one for one in every if fits(one) and one.taken_at > chosen.candidate.taken_at]
    assert len(chosen.notes) >= min(len(newer), 3)


@given(st.permutations(range(6)), st.permutations(range(6)))
def test_candidates_do_not_depend_on_the_order_in_which_they_are_read(points_as, copies_as):
    points = [
        a_point(
            id=f"pt-{n:020x}",
            status=PointStatus.AVAILABLE if n % 2 else PointStatus.EXPIRED,
            members=(a_member(started_at=T0 - timedelta(hours=n)),),
        )
        for n in range(6)
    ]
    copies = [a_copy(one) for one in points]

    found = choosing.candidates([points[n] for n in points_as], [copies[n] for n in copies_as], {})

    assert [one.id for one in found] == [one.id for one in points]


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(days=3, hours=4, minutes=5), "3 d 4 h"),
        (timedelta(hours=5, minutes=10), "5 h 10 min"),
        (timedelta(minutes=7, seconds=59), "7 min"),
        (timedelta(seconds=-5), "0 min"),
    ],
)
def test_an_age_has_its_two_largest_parts(length, text):
    assert choosing.age(length) == text


def test_a_safety_point_is_chosen_by_its_id_alone_and_said_to_be_one() -> None:
    older = a_point(status=PointStatus.AVAILABLE)
    later = older.slot + timedelta(hours=1)
    member = a_member(started_at=later)
    safety = replace(older, id="pt-" + "5" * 20, slot=later, members=(member,))
    every = choosing.candidates([older, safety], [], {safety.id: "rs-1"})
    now = safety.slot + timedelta(hours=1)

    latest = choosing.choose(every, choosing.wish("latest", UTC), UTC, now)
    named = choosing.choose(every, choosing.wish(safety.id, UTC), UTC, now)

    assert latest.candidate.id == older.id
    assert "taken before rs-1 changed the source" in latest.notes[0]
    assert named.candidate.id == safety.id
