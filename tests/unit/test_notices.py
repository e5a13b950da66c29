"""What people are told: what, where, since when, and what to do; in words that SNS takes."""

import re
from datetime import timedelta

import pytest

from lastgood.domain import notices
from lastgood.domain.model import Failure, Planned, PointStatus, Run, Source, SourceRecord
from lastgood.domain.names import run_id
from lastgood.domain.notices import MOST_CHARACTERS, MOST_NAMED
from lastgood.domain.policy import Policy, ResourceKind, Retention, Select
from lastgood.domain.policy_checks import NAME_PATTERN
from tests.cloud.notices import SUBJECT
from tests.support.builders import POLICY, SOURCE, T0

LONGEST_NAME = "p" * 48
DAY = timedelta(days=1)


def a_run(good, failed, policy=POLICY, **planned):
    facts = {"at": T0, "points": good + failed}
    return Run(
        id=run_id(policy, T0),
        policy=policy,
        slot=T0,
        started_at=T0,
        planned=Planned(**facts | planned),
        ended={PointStatus.AVAILABLE: good, PointStatus.FAILED: failed},
    )


def a_failure(number=1, cause="KeyDenied: the key is disabled"):
    source = Source(id=f"i-{number}", region=SOURCE.region, account=SOURCE.account)
    return Failure(point=f"pt-{number}", source=source, cause=cause)


def a_policy(name=POLICY, **given):
    select = Select(resource=ResourceKind.INSTANCE, tags={"backup": ("daily",)})
    facts = {"rpo": timedelta(hours=26)}
    return Policy(name=name, select=select, retention=Retention(keep_daily=7), **facts | given)


def a_record(number=1, **given):
    source = Source(id=f"i-{number}", region=SOURCE.region, account=SOURCE.account)
    return SourceRecord(policy=POLICY, source=source, first_seen=T0, **given)


def test_a_run_that_ended_badly_is_told_with_each_source_and_why():
    notice = notices.run_ended(a_run(3, 1), [a_failure()])

    assert notice.subject == "Lastgood: web-daily 2026-03-01 02:00Z partial, 1 failed"
    assert notice.text.startswith(
        "The run of policy web-daily for 2026-03-01 02:00 UTC ended: partial.\n"
        "3 recovery points are available, 1 failed.\n"
    )
    assert "- i-1 in eu-west-1: KeyDenied: the key is disabled\n" in notice.text
    assert """echo '{"policy": "web-daily", "source": "<id>"}'""" in notice.text
    assert notice.text.endswith(f"Run: {run_id(POLICY, T0)}")


def test_what_could_not_even_be_planned_is_told_as_well():
    run = a_run(0, 0, problems=("AccessDenied: describe instances in eu-south-1",))

    notice = notices.run_ended(run, [])

    assert "ended: failed." in notice.text
    assert "Not planned: AccessDenied: describe instances in eu-south-1\n" in notice.text


def test_the_first_failures_are_named_and_the_others_counted():
    many = [a_failure(n) for n in range(MOST_NAMED)]

    text = notices.run_ended(a_run(0, MOST_NAMED + 7), many).text

    assert text.count("- i-") == MOST_NAMED
    assert "\n- and 7 more\n" in text


def test_a_long_cause_is_cut_and_stays_on_its_line():
    text = notices.run_ended(a_run(0, 1), [a_failure(cause="line\n" * 100)]).text

    (line,) = [one for one in text.splitlines() if one.startswith("- i-1")]
    assert line.endswith("...")
    assert len(line) == len("- i-1 in eu-west-1: ") + MOST_CHARACTERS


def test_a_source_past_its_rpo_is_told_with_when_it_was_good_last():
    overdue = [a_record(1, last_available=T0 - DAY), a_record(2)]

    notice = notices.past_rpo(a_policy(), overdue, T0 + DAY)

    assert notice.subject == "Lastgood: 2 sources of web-daily are past their rpo"
    assert notice.text.startswith(
        "2 sources of policy web-daily have no recovery point that is younger than 26h,"
    )
    assert "- i-1 in eu-west-1: last good 2026-02-28 02:00 UTC\n" in notice.text
    assert "- i-2 in eu-west-1: never\n" in notice.text


def test_sources_past_their_rpo_are_one_notice_a_day_whichever_they_are():
    morning = notices.past_rpo(a_policy(), [a_record(1)], T0)
    evening = notices.past_rpo(a_policy(), [a_record(1), a_record(2)], T0 + timedelta(hours=21))
    next_day = notices.past_rpo(a_policy(), [a_record(1)], T0 + DAY)

    assert morning.key == evening.key != next_day.key


def test_a_slot_that_nobody_started_is_told_with_what_its_points_hold():
    notice = notices.caught_up(POLICY, T0, T0 + timedelta(minutes=40))

    assert notice.subject == "Lastgood: web-daily was not started at 2026-03-01 02:00 UTC"
    assert "started it at 2026-03-01 02:40 UTC: its points hold the data of now" in notice.text


@pytest.mark.parametrize(
    "notice",
    [
        notices.run_ended(a_run(1, 99_999, LONGEST_NAME), [a_failure()]),
        notices.past_rpo(a_policy(LONGEST_NAME), [a_record()] * 99_999, T0),
        notices.caught_up(LONGEST_NAME, T0, T0),
    ],
    ids=["run", "rpo", "slot"],
)
def test_sns_takes_the_subject_of_the_policy_with_the_longest_name(notice):
    assert re.fullmatch(NAME_PATTERN, LONGEST_NAME)
    assert not re.fullmatch(NAME_PATTERN, LONGEST_NAME + "p")

    assert SUBJECT.fullmatch(notice.subject)
    assert len(notice.text.encode()) < 256 * 1024


def test_no_two_notices_have_the_same_key():
    told = [
        notices.run_ended(a_run(0, 1), []),
        notices.run_ended(a_run(0, 1, "other"), []),
        notices.past_rpo(a_policy(), [a_record()], T0),
        notices.past_rpo(a_policy("other"), [a_record()], T0),
        notices.caught_up(POLICY, T0, T0),
        notices.caught_up(POLICY, T0 + DAY, T0),
    ]

    assert len({one.key for one in told}) == len(told)
