"""``make simulate``: what a policy keeps over the years."""

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest

from infra.simulate import main, simulate
from lastgood.domain.policy import MaxDeletes, Retention, Schedule, Span
from tests.support.world import a_policy

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NIGHTLY = Schedule(cron="0 2 * * ? *")


def days_kept(history):
    return [f"{one.point.taken_at:%Y-%m-%d}" for one in history.kept]


def test_a_month_tells_how_many_points_there_are_and_which_rules_keep_them():
    policy = a_policy(schedules=(NIGHTLY,), retention=Retention(keep_daily=7, keep_monthly=2))

    history = simulate(policy, START, START + 120 * DAY)

    april = history.months[-1]
    assert f"{april.at:%Y-%m}" == "2026-04"
    assert april.points == 8
    assert april.tiers == {"daily": 7, "monthly": 2}
    assert april.reach == april.at - datetime(2026, 3, 31, 2, tzinfo=UTC)
    assert april.gaps["1 week"] == april.gaps["ever"] == 24 * DAY  # from 24 April back
    assert (history.taken, history.most) == (120, 9)


def test_an_outage_leaves_no_points_and_deletes_none():
    policy = a_policy(schedules=(NIGHTLY,), retention=Retention(keep_within=Span.parse("5d")))
    outage = (START + 20 * DAY, START + 40 * DAY)

    history = simulate(policy, START, START + 39 * DAY, [outage])

    assert days_kept(history) == [f"2026-01-{day}" for day in (20, 19, 18, 17, 16)]


def test_ten_years_of_hours_are_reached_by_judging_day_by_day_as_at_once():
    """What ``explain`` foretells by judging all at once is what prunes come to."""
    hourly = Schedule(cron="0 * * * ? *", timezone="America/Havana")
    retention = Retention(
        timezone="Europe/Berlin",
        keep_hourly=24,
        keep_daily=7,
        keep_weekly=5,
        keep_monthly=12,
        keep_yearly="all",
    )
    policy = a_policy(schedules=(hourly,), retention=retention)
    outages = [(START + 300 * DAY, START + 340 * DAY), (START + 2000 * DAY, START + 2001 * DAY)]

    history = simulate(policy, START, START + 3653 * DAY, outages)

    assert history.taken > 86_000
    assert history.most < 100
    tiers = history.months[-1].tiers
    assert (tiers["hourly"], tiers["daily"], tiers["monthly"], tiers["yearly"]) == (24, 7, 12, 11)
    assert max(one.gaps["ever"] for one in history.months) < 400 * DAY


@pytest.fixture
def run(capsys, tmp_path):
    def running(*arguments):
        out = tmp_path / "timeline.svg"
        code = main(["--policy", "web-daily", "--out", str(out), *arguments])
        return code, *capsys.readouterr(), out

    return running


def test_the_command_prints_a_line_a_month_and_writes_a_picture(run):
    code, printed, err, out = run("--years", "1", "--outages", "2026-03-01..2026-03-15")

    assert (code, err) == (0, "")
    lines = printed.splitlines()
    assert lines[2].split()[:4] == ["month", "points", "last", "daily"]
    assert len([one for one in lines if one.startswith("2026-")]) == 12
    picture = ET.parse(out).getroot()
    marks = picture.findall("{http://www.w3.org/2000/svg}circle")
    assert len(marks) > 27


def test_other_rules_can_be_tried(run):
    _, plain, *_ = run("--years", "0.5")
    _, other, *_ = run("--years", "0.5", "--what-if", "keep_daily=30,keep_within=1d")

    assert plain != other
    assert '"keep_daily": 30' in other


def test_rules_can_be_taken_out_or_written_as_json(run):
    rules = '{"keep_within": null, "keep_tags": [{"a": ["x", "y"]}]}'

    code, printed, *_ = run("--years", "0.5", "--what-if", rules)

    assert code == 0
    assert '"keep_tags": [{"a": ["x", "y"]}]' in printed
    assert "within" not in printed


def test_a_window_that_the_points_do_not_fill_has_no_gap(run):
    _, printed, *_ = run("--years", "0.5", "--what-if", '{"keep_monthly": 0, "keep_yearly": 0}')

    (april,) = [one.split() for one in printed.splitlines() if one.startswith("2026-04")]
    assert "-" in april
    assert april[-1] != "-"


def test_a_cap_that_stops_prunes_shows():
    hourly = Schedule(cron="0 * * * ? *")
    retention = Retention(keep_hourly=12, keep_daily=7)
    policy = a_policy(schedules=(hourly,), retention=retention, max_deletes=MaxDeletes(share=0.5))

    history = simulate(policy, START, START + 30 * DAY)

    assert history.stopped > 20
    assert history.most > 600


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--policies", "/nowhere.yaml"), "No such file"),
        (("--start", "tomorrow"), "not a date"),
        (("--years", "0"), "YEARS must be above 0 and at most 100"),
        (("--years", "-1"), "YEARS must be above 0"),
        (("--years", "1000"), "at most 100"),
        (("--years", "nan"), "YEARS must be above 0"),
        (("--outages", "2026-03-15..2026-03-01"), "must begin before it ends"),
        (("--outages", "2026-03-15..2026-03-15"), "must begin before it ends"),
        (("--outages", "2036-03-15..2036-03-16"), "and lie between 2026-01-01 and 2028-01-01"),
        (("--outages", "2026-01-01.."), "takes no point from 2026-01-01 on"),
        (("--what-if", "{"), "WHATIF is not JSON"),
        (("--what-if", "keep_daily=--5"), "must be"),
        (("--outages", "2026-03-01"), "is not like 2026-03-01..2026-03-15"),
        (("--what-if", "keep_daily"), "is not like keep_daily=14"),
        (("--what-if", "keep_dayly=14"), "did you mean 'keep_daily'?"),
        (("--what-if", "keep_within=2w"), "must be a span"),
        (("--what-if", "keep_daily=-3"), "must be 0 or more"),
        (("--policy", "web"), "there are: data-volumes, web-daily"),
    ],
)
def test_a_refusal_says_why(run, arguments, why):
    code, printed, err, _ = run(*arguments)

    assert (code, printed) == (1, "")
    assert why in err
