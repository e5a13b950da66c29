"""``make judge``: what a policy would do to the snapshots that somebody has."""

import io
import json
import subprocess

import pytest

from infra.judge import main
from infra.packages import ROOT

NOW = "2026-11-25T12:00:00Z"
POINTS = [
    {"id": "a", "taken_at": "2026-11-23T03:00:00Z"},
    {"id": "b", "taken_at": "2026-11-25T03:00:00+01:00", "tags": {"keep": "yes"}},
    {"id": "c", "taken_at": "2026-11-24T03:00:00Z", "held": True},
    {"id": "d", "taken_at": "2026-11-22T03:00:00Z", "status": "pending"},
    {"id": "e", "taken_at": "2026-11-21T03:00:00Z", "held": "legal"},
    {"id": "f", "taken_at": "2026-11-20T03:00:00Z"},
]
KEEP_ONE = '{"keep_last": 1}'


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Judge these points; the exit code, and what was printed to whom."""

    def running(*arguments, points=POINTS, stdin=False):
        text = points if isinstance(points, str) else json.dumps(points)
        file = tmp_path / "points.json"
        file.write_text(text)
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        place = "-" if stdin else str(file)
        code = main([place, "--now", NOW, *arguments])
        return code, *capsys.readouterr()

    return running


def test_json_has_a_verdict_for_each_point_newest_first(run):
    code, out, err = run("--retention", KEEP_ONE, "--format", "json")

    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [(one["id"], one["keep"]) for one in found] == [
        *(("b", True), ("c", True), ("a", False)),
        *(("d", True), ("e", True), ("f", False)),
    ]
    assert found[0] == {"id": "b", "keep": True, "reasons": ["last 1, 0 of 1 left"]}
    assert found[4]["reasons"] == ["legal"]
    assert found[5]["reasons"] == ["last 3: 1 of 1 used by newer; keep_last 3 would keep it"]


def test_the_table_says_the_same_to_people(run):
    _, out, _ = run("--retention", KEEP_ONE)

    assert out.splitlines()[2] == (
        "a  2026-11-23T03:00:00Z  DELETE  last 2: 1 of 1 used by newer; keep_last 2 would keep it"
    )
    assert out.splitlines()[-1] == "6 points: 4 kept, 2 deleted"


def test_points_may_come_from_standard_input(run):
    assert run("--retention", KEEP_ONE, stdin=True) == run("--retention", KEEP_ONE)


def test_a_policy_of_the_file_is_judged_by_its_name(run):
    code, out, _ = run("--policy", "web-daily", "--format", "json")

    assert code == 0
    assert all(one["keep"] for one in json.loads(out))


def a_snapshot(number, volume="vol-1", **given):
    facts = {"SnapshotId": f"snap-{number}", "VolumeId": volume, "State": "completed"}
    return {**facts, "StartTime": f"2026-11-{number:02}T03:00:00+00:00", **given}


def test_snapshots_of_ec2_are_judged_volume_by_volume(run):
    copied = {"Tags": [{"Key": "lastgood:source", "Value": "i-1"}]}
    snapshots = [
        *(a_snapshot(number) for number in (1, 2, 3)),
        a_snapshot(4, State="pending"),
        a_snapshot(5, "vol-2"),
        a_snapshot(6, "vol-ffffffff", **copied),
        a_snapshot(7, "vol-ffffffff", **copied),
        a_snapshot(8, "vol-ffffffff"),
    ]

    code, out, _ = run("--retention", KEEP_ONE, "--format", "json", points={"Snapshots": snapshots})

    assert code == 0
    assert [one["id"] for one in json.loads(out) if not one["keep"]] == [
        *("snap-6", "snap-2", "snap-1")
    ]


@pytest.mark.parametrize(
    ("points", "retention", "why"),
    [
        ("no json", KEEP_ONE, "POINTS is not JSON"),
        ("3", KEEP_ONE, "must be a list of points"),
        ([{"id": "a"}], KEEP_ONE, "POINTS[0].taken_at is missing"),
        ([{"id": "a", "taken_at": "2026-11-23T03:00:00"}], KEEP_ONE, "it has no zone"),
        ([{**POINTS[0], "tag": {}}], KEEP_ONE, "unknown key 'tag'; did you mean 'tags'?"),
        ([{**POINTS[0], "status": "completed"}], KEEP_ONE, "must be one of creating, pending"),
        ([POINTS[0], POINTS[0]], KEEP_ONE, "has the id 'a' twice"),
        ({"Snapshots": [{"SnapshotId": "snap-1"}]}, KEEP_ONE, "not as DescribeSnapshots has it"),
        (POINTS, "{", "RETENTION is not JSON"),
        (POINTS, "[]", "must be a mapping"),
        (POINTS, "{}", "keeps nothing"),
        (POINTS, '{"keep_daily": 0, "keep_last": 0}', "keeps nothing"),
        (POINTS, '{"keep_daily": -2}', "must be 0 or more"),
        (POINTS, '{"keep_within": "2w"}', "must be a span of years, months, days and hours"),
        (POINTS, '{"keep_within": "5d2y"}', "in this order"),
        (POINTS, '{"keep_dayly": 2}', "did you mean 'keep_daily'?"),
        (POINTS, '{"keep_daily": "7"}', "without quotes|whole number"),
        (POINTS, '{"keep_daily": 7, "timezone": "Mars/Olympus"}', "IANA time zone"),
    ],
)
def test_a_refusal_says_why_on_standard_error_and_nothing_else(run, points, retention, why):
    code, out, err = run("--retention", retention, points=points)

    assert (code, out) == (1, "")
    assert err.startswith("refused: ")
    assert any(one in err for one in why.split("|"))


def test_a_policy_that_is_not_there_is_refused_with_those_that_are(run):
    code, _, err = run("--policy", "web-dayly")

    assert code == 1
    assert "there are: data-volumes, web-daily" in err


def test_a_file_that_is_not_there_is_refused(capsys):
    assert main(["/nowhere.json", "--retention", KEEP_ONE]) == 1
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[""], ["p.json"], ["p", "--policy", "a", "--retention", "b"]]
)
def test_what_is_missing_or_too_much_is_said_with_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*arguments, *(["--policy", "a"] if arguments == [""] else [])])

    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.slow
def test_make_passes_on_what_is_set_and_prints_nothing_else(tmp_path):
    file = tmp_path / "points.json"
    file.write_text(json.dumps(POINTS))

    done = subprocess.run(
        [
            "make",
            "-s",
            "judge",
            f"POINTS={file}",
            f"RETENTION={KEEP_ONE}",
            f"NOW={NOW}",
            "FORMAT=json",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert [one["keep"] for one in json.loads(done.stdout)] == [
        True,
        True,
        False,
        True,
        True,
        False,
    ]
