"""``make judge``: what a policy would do to the snapshots that somebody has."""

import io
import json
import subprocess
from datetime import UTC, datetime

import pytest

from infra.judge import main
from infra.packages import ROOT
from lastgood.domain.tags import of_point

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


def a_snapshot(number, volume="vol-1", **given):
    facts = {"SnapshotId": f"snap-{number}", "VolumeId": volume, "State": "completed"}
    return {**facts, "StartTime": f"2026-11-{number:02}T03:00:00+00:00", **given}


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Judge these points; the exit code, and what was printed to whom."""

    def running(*arguments, points=POINTS, stdin=False):
        text = points if isinstance(points, str) else json.dumps(points)
        file = tmp_path / "points.json"
        file.write_text(text)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
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
    assert found[1]["reasons"] == ["held"]
    assert found[4]["reasons"] == ["held: legal"]
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


def ours(number, point, volume, source="i-1", members=2, **given):
    tags = of_point(
        point=point,
        policy="web-daily",
        run="run-1",
        slot=datetime(2026, 11, number, 3, tzinfo=UTC),
        source=source,
        method="set",
        members=members,
    )
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    return {**a_snapshot(number, volume, **given), "SnapshotId": f"{point}{volume}", "Tags": listed}


def test_snapshots_of_a_set_are_judged_as_one_point_which_counts_only_if_it_is_whole(run):
    sets = [ours(day, f"pt-{day}", volume) for day in (22, 23, 24) for volume in "ab"]
    broken = [ours(25, "pt-25", "a"), ours(25, "pt-25", "b", State="error")]

    code, out, _ = run("--retention", KEEP_ONE, "--format", "json", points=[*sets, *broken])

    assert code == 0
    kept = [one["id"] for one in json.loads(out) if one["keep"]]
    assert kept == ["pt-25a", "pt-25b", "pt-24a", "pt-24b"]
    _, table, _ = run("--retention", KEEP_ONE, points=[*sets, *broken])
    assert table.splitlines()[0] == "i-1 (web-daily)"
    assert table.splitlines()[-1] == "4 points: 2 kept, 2 deleted"


def test_points_of_other_policies_and_copies_of_who_knows_what_do_not_compete(run):
    other = ours(20, "pt-20", "a", members=1)
    for tag in other["Tags"]:
        if tag["Key"] == "lastgood:policy":
            tag["Value"] = "other"
    snapshots = [
        ours(25, "pt-25", "a", members=1),
        other,
        a_snapshot(1, "a"),
        *(a_snapshot(day, "vol-ffffffff") for day in (2, 3)),
    ]

    _, out, _ = run("--retention", KEEP_ONE, "--format", "json", points={"Snapshots": snapshots})

    assert all(one["keep"] for one in json.loads(out))


def test_a_snapshot_with_the_tag_of_a_hold_is_held(run):
    held = a_snapshot(24, Tags=[{"Key": "lastgood:hold", "Value": "anna: audit"}])

    _, out, _ = run("--retention", KEEP_ONE, points=[a_snapshot(25), held])

    assert "held by anna" in out
    assert "2 kept, 0 deleted" in out


def test_files_of_windows_can_be_read(tmp_path, capsys):
    file = tmp_path / "points.json"
    for encoding in ("utf-16", "utf-8-sig"):
        file.write_text(json.dumps(POINTS), encoding=encoding)

        assert main([str(file), "--retention", KEEP_ONE]) == 0
    assert main([str(file), "--retention", KEEP_ONE, "--now", "tomorrow"]) == 1
    assert "refused: NOW is the text 'tomorrow'" in capsys.readouterr().err


def test_who_judges_by_a_policy_with_copies_is_told_what_a_prune_waits_for(run, tmp_path):
    policies = tmp_path / "policies.yaml"
    policies.write_text(
        "policies: {copied: {select: {resource: volume, tags: {a: [b]}}, "
        "retention: {keep_daily: 2}, copies: [{region: eu-north-1}]}}"
    )

    code, _, err = run("--policy", "copied", "--policies", str(policies))

    assert (code, err.startswith("note: the policy asks for copies")) == (0, True)


@pytest.mark.parametrize(
    ("points", "retention", "why"),
    [
        ("no json", KEEP_ONE, "POINTS is not JSON"),
        ("3", KEEP_ONE, "must be a list of points"),
        ([{"id": "a"}], KEEP_ONE, "POINTS[0].taken_at is missing"),
        ([{"id": "a", "taken_at": "2026-11-23T03:00:00"}], KEEP_ONE, "it has no zone"),
        ([{**POINTS[0], "taken_at": "0001-01-01T00:00:00Z"}], KEEP_ONE, "in the years 1970 to"),
        ([{**POINTS[0], "id": ""}], KEEP_ONE, "an id that is empty"),
        ([{**POINTS[0], "tag": {}}], KEEP_ONE, "unknown key 'tag'; did you mean 'tags'?"),
        ([{**POINTS[0], "status": "completed"}], KEEP_ONE, "must be one of creating, pending"),
        ([POINTS[0], POINTS[0]], KEEP_ONE, "has the id 'a' twice"),
        ({"Snapshots": [{"SnapshotId": "s"}]}, KEEP_ONE, "Snapshots[0].VolumeId is missing"),
        ({"Snapshots": [3]}, KEEP_ONE, "Snapshots[0] must be a mapping"),
        ({"Snapshots": 3}, KEEP_ONE, "Snapshots must be a list"),
        ([a_snapshot(1, State="weird")], KEEP_ONE, "State must be one of completed, pending"),
        ([a_snapshot(1, StartTime="today")], KEEP_ONE, "Snapshots[0].StartTime is the text"),
        ([a_snapshot(1, Tags=["x"])], KEEP_ONE, "Snapshots[0].Tags must be a list"),
        ("[" * 100_000, KEEP_ONE, "POINTS is not JSON"),
        (POINTS, '{"keep_daily": 1, "keep_daily": 7}', "has the key 'keep_daily' twice"),
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
