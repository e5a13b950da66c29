"""The deployed bundle at work: a good night in two Regions, and bad days."""

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.util import source_from_cache
from pathlib import Path
from typing import Any

import pytest

from infra.stacks.state import TABLE
from lastgood.domain.model import Method, PointStatus, RunStatus
from tests.cloud.driver import ACCOUNT
from tests.e2e.conftest import AWAY, BURYING, FUNCTIONS, HOME, SLOT, Installation, an_installation
from tests.support import table
from tests.support.fleet import disk, launch, volume

pytestmark = pytest.mark.slow

VOLUME_SLOT = SLOT + timedelta(minutes=30)
HOUR = timedelta(hours=1)

WITH_THE_RUNTIME = {
    *("awslambdaric", "runtime_client", "snapshot_restore_py", "simplejson"),
    *("boto3", "botocore", "s3transfer", "dateutil", "urllib3", "six", "jmespath"),
}
FOR_THE_TEST_CLOUD = {"time_machine", "_time_machine"}
IN_THE_LAYERS = {
    *("lastgood", "aws_lambda_powertools", "cattrs", "cattr", "attr", "attrs", "jmespath"),
    "typing_extensions",
}

PROBE = """
import pkgutil, sys

def handler(event, context):
    paths = [path for path in sys.path if "/lib/python3" not in path]
    return sorted(module.name for module in pkgutil.iter_modules(paths))
"""


@dataclass(frozen=True)
class Night:
    """What was there when the first slot of every policy came, and was over."""

    installation: Installation
    web: str
    sleepy: str
    away: str
    data: str


@pytest.fixture(scope="module")
def lastgood(assembly: Path) -> Iterator[Installation]:
    with an_installation(assembly) as installation:
        yield installation
        assert installation.cloud.errors() == ""


@pytest.fixture(scope="module")
def night(lastgood: Installation) -> Night:
    ec2, away = lastgood.client("ec2"), lastgood.client("ec2", AWAY)
    encrypted: dict[str, Any] = {"Encrypted": True}
    lastgood.subscribe()
    night = Night(
        installation=lastgood,
        web=launch(ec2, "web", disk("/dev/sdf"), disk("/dev/sdg")),
        sleepy=launch(
            ec2,
            "sleepy",
            disk("/dev/sdf", **encrypted),
            root=encrypted,
            HibernationOptions={"Configured": True},
        ),
        away=launch(away, "web", disk("/dev/sdf")),
        data=volume(ec2, f"{HOME}a", {"backup": "volume"}),
    )
    launch(ec2, "not-selected", tags={"backup": "never"})
    lastgood.cloud.advance(to=SLOT + HOUR)
    return night


def available(lastgood: Installation, slot: datetime) -> set[str]:
    """The sources whose point of that slot is available."""
    return {
        source
        for source, point in lastgood.points_at(slot).items()
        if point.status is PointStatus.AVAILABLE
    }


# ------------------------------------------------------------------------- a good night


def test_when_the_slot_comes_every_selected_source_gets_its_point(night: Night):
    lastgood = night.installation

    instances, volumes = lastgood.points_at(SLOT), lastgood.points_at(VOLUME_SLOT)

    assert {source: point.method for source, point in instances.items()} == {
        night.web: Method.SET,
        night.sleepy: Method.ONE_BY_ONE,
        night.away: Method.SET,
    }
    assert {source: point.method for source, point in volumes.items()} == {
        night.data: Method.VOLUME
    }
    points = [*instances.values(), *volumes.values()]
    assert {point.status for point in points} == {PointStatus.AVAILABLE}
    for point in points:
        run = lastgood.ledger.run(point.run)
        assert run is not None
        assert run.status is RunStatus.OK


def test_what_ended_in_the_second_region_came_by_way_of_its_forwarder(night: Night):
    lastgood = night.installation
    point = lastgood.points_at(SLOT)[night.away]

    delivered = lastgood.cloud.state()["deliveries"]

    about = {member.snapshot for member in point.members}
    forwarded = [
        one
        for one in delivered
        if ":rule/lastgood-forwarder" in one.get("rule", "")
        and any(snapshot in one["input"] for snapshot in about)
    ]
    assert point.source.region == AWAY
    assert {one["rule"].split(":")[3] for one in forwarded} == {AWAY}
    assert {one["target"] for one in forwarded} == {
        f"arn:aws:events:{HOME}:{ACCOUNT}:event-bus/default"
    }
    assert {one["SnapshotId"] for one in lastgood.snapshots(AWAY)} == about


def test_subscribers_hear_of_every_point_once(night: Night):
    heard = night.installation.heard()

    told = {event["detail"]["source"]["id"]: event["detail-type"] for event in heard}

    sources = {night.web, night.sleepy, night.away, night.data}
    assert told == dict.fromkeys(sources, "Recovery Point Available")
    assert len(heard) == len(sources)
    assert {event["source"] for event in heard} == {"lastgood"}


def test_a_good_night_leaves_no_dead_letter_and_loses_nothing(night: Night):
    lastgood = night.installation

    state = lastgood.cloud.state()

    letters = {function: lastgood.dead_letters(function) for function in BURYING}
    assert {function: found for function, found in letters.items() if found} == {}
    assert state["lost"] == []
    assert [one for one in state["decisions"] if not one["allowed"]] == []
    assert [one for one in state["invocations"] if one["error"]] == []


BY_DAY = ("prune_snapshots", "delete_snapshots", "tell_chat")
AT_NIGHT = [one for one in BURYING if one not in BY_DAY]
"""Those that have run an hour after the slot."""


def test_logs_are_json_lines_that_say_policy_run_point_and_source(night: Night):
    lastgood = night.installation
    point = lastgood.points_at(SLOT)[night.web]

    for function in AT_NIGHT:
        written = [
            json.loads(line)
            for line in lastgood.log(function, until=SLOT + HOUR)
            # What Lambda's service itself adds; the test cloud writes it as text.
            if line.split(" ")[0] not in ("START", "END", "REPORT")
        ]
        lines = [line for line in written if "level" in line]

        assert {line["service"] for line in lines} == {FUNCTIONS[function]}
        assert {line["function_name"] for line in lines} == {FUNCTIONS[function]}
        if function in ("create_snapshots", "record_snapshot"):
            about = {"policy": "web-daily", "run": point.run, "point": point.id}
            wanted = {**about, "source": night.web}
            assert [line for line in lines if wanted.items() <= line.items()]
        assert [line for line in written if "_aws" in line]


# ---------------------------------------------------------------------- what is deployed


def uploaded(lastgood: Installation) -> dict[str, list[str]]:
    """The names of the files in each archive of the bucket that the CLI uploads to."""
    s3 = lastgood.client("s3")
    (bucket,) = [
        one["Name"]
        for one in s3.list_buckets()["Buckets"]
        if one["Name"].endswith(HOME) and "assets" in one["Name"]
    ]
    archives = {}
    for one in s3.list_objects_v2(Bucket=bucket)["Contents"]:
        if one["Key"].endswith(".zip"):
            body = s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
            with zipfile.ZipFile(io.BytesIO(body)) as archive:
                archives[one["Key"]] = archive.namelist()
    return archives


def test_archives_hold_source_with_its_bytecode_and_nothing_for_one_platform(
    lastgood: Installation,
):
    archives = uploaded(lastgood)

    files = [name for names in archives.values() for name in names]

    assert len(archives) == len(FUNCTIONS) + 2
    assert [name for name in files if name.endswith((".so", ".pyd"))] == []
    assert [name for name in files if "tests" in name.split("/")] == []
    for names in archives.values():
        source = {name for name in names if name.endswith(".py")}
        compiled = {name for name in names if name.endswith(".pyc")}
        assert {source_from_cache(name) for name in compiled} == source


def test_a_function_has_its_own_folder_and_no_other(lastgood: Installation):
    archives = uploaded(lastgood).values()

    tops = [sorted({name.split("/")[0] for name in names}) for names in archives]

    assert sorted(tops) == sorted([*([name] for name in FUNCTIONS), ["python"], ["python"]])


def test_a_function_finds_no_package_but_the_layers_and_the_runtimes(lastgood: Installation):
    client = lastgood.client("lambda")
    like = client.get_function_configuration(FunctionName=FUNCTIONS["plan_snapshots"])
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("probe.py", PROBE)
    client.create_function(
        FunctionName="probe",
        Runtime=like["Runtime"],
        Handler="probe.handler",
        Role=like["Role"],
        Code={"ZipFile": code.getvalue()},
        Layers=[layer["Arn"] for layer in like["Layers"]],
    )

    found = set(json.loads(client.invoke(FunctionName="probe")["Payload"].read()))

    client.delete_function(FunctionName="probe")
    assert found >= IN_THE_LAYERS
    assert found - {"probe"} <= IN_THE_LAYERS | WITH_THE_RUNTIME | FOR_THE_TEST_CLOUD


# ------------------------------------------------------------------------- by hand


def test_one_source_can_be_run_by_hand(night: Night):
    lastgood, slot = night.installation, SLOT + 2 * HOUR

    answer = lastgood.plan(source=night.web, slot=slot.isoformat())
    lastgood.cloud.advance(by=timedelta(minutes=10))

    assert answer.error is None
    assert answer.payload["point_count"] == 1
    assert available(lastgood, slot) == {night.web}


def test_a_dry_run_tells_what_would_be_taken_and_takes_nothing(night: Night):
    lastgood = night.installation
    before = lastgood.points()

    answer = lastgood.plan(dry_run=True)
    lastgood.cloud.advance(by=timedelta(minutes=10))

    sources = {one["source"] for one in answer.payload["points"]}
    assert sources >= {night.web, night.sleepy, night.away}
    assert lastgood.points() == before


def test_an_unknown_policy_is_an_error_of_that_name(lastgood: Installation):
    answer = lastgood.plan("web-dayly")

    assert answer.error == "UnknownPolicy"
    message = answer.payload["errorMessage"]
    assert (
        "no policy 'web-dayly' is deployed; there are: data-volumes, members, shops, web-daily."
        in message
    )


def test_an_event_that_nobody_waits_for_is_tried_three_times_and_then_a_dead_letter(
    lastgood: Installation,
):
    before = len(lastgood.cloud.state()["invocations"])

    lastgood.invoke("plan_snapshots", {"policy": "web-dayly"}, InvocationType="Event")
    lastgood.cloud.advance(by=timedelta(minutes=4))

    tried = lastgood.cloud.state()["invocations"][before:]
    assert [one["error"] for one in tried] == [True, True, True]
    (letter,) = lastgood.dead_letters("plan_snapshots")
    body = json.loads(letter["body"])
    assert body["requestPayload"] == {"policy": "web-dayly"}
    assert body["requestContext"]["condition"] == "RetriesExhausted"
    assert body["requestContext"]["approximateInvokeCount"] == 3
    assert body["responsePayload"]["errorType"] == "UnknownPolicy"


def test_a_message_that_makes_no_sense_is_a_dead_letter_with_its_cause(lastgood: Installation):
    for function in ("create_snapshots", "record_snapshot"):
        lastgood.send(FUNCTIONS[function], "no JSON at all")
    lastgood.cloud.settle()

    for function in ("create_snapshots", "record_snapshot"):
        (letter,) = lastgood.dead_letters(function)
        assert letter["body"] == "no JSON at all"
        assert letter["attributes"]["error"] == "MalformedMessage"
        assert letter["attributes"]["function"] == FUNCTIONS[function]


# ------------------------------------------------------------------------- bad days


def test_a_ledger_that_is_gone_is_named_to_whoever_asks_and_in_dead_letters(night: Night):
    lastgood, slot = night.installation, SLOT + 3 * HOUR
    dynamodb = lastgood.client("dynamodb")
    known = dynamodb.describe_table(TableName=TABLE)["Table"]
    items = dynamodb.scan(TableName=TABLE)["Items"]
    with lastgood.waiting("create_snapshots"):
        lastgood.plan(source=night.web, slot=slot.isoformat())
        dynamodb.update_table(TableName=TABLE, DeletionProtectionEnabled=False)
        dynamodb.delete_table(TableName=TABLE)

        asked = lastgood.plan(source=night.web, slot=slot.isoformat())
    lastgood.cloud.settle()

    encryption = {
        "Enabled": True,
        "SSEType": "KMS",
        "KMSMasterKeyId": known["SSEDescription"]["KMSMasterKeyArn"],
    }
    dynamodb.create_table(
        TableName=TABLE, BillingMode="PAY_PER_REQUEST", SSESpecification=encryption, **table.TABLE
    )
    for item in items:
        dynamodb.put_item(TableName=TABLE, Item=item)
    assert asked.error == "LedgerMissing"
    (letter,) = lastgood.dead_letters("create_snapshots")
    assert letter["attributes"]["error"] == "LedgerMissing"
    assert "Deploy the stack that holds the table" in letter["attributes"]["cause"]


def test_a_disabled_key_is_named_and_nothing_is_lost_once_it_is_enabled_again(night: Night):
    lastgood, slot = night.installation, SLOT + 4 * HOUR
    with lastgood.waiting("create_snapshots"):
        lastgood.plan(source=night.web, slot=slot.isoformat())

    with key_disabled(lastgood):
        asked = lastgood.plan(source=night.web, slot=slot.isoformat())
        lastgood.cloud.advance(by=timedelta(minutes=5))
        meanwhile = lastgood.snapshots()
    lastgood.cloud.advance(by=HOUR)

    assert {one["State"] for one in meanwhile} == {"completed"}
    assert asked.error == "KeyDenied"
    assert "Enable the KMS key" in asked.payload["errorMessage"]
    assert available(lastgood, slot) == {night.web}


@contextmanager
def key_disabled(lastgood: Installation) -> Iterator[None]:
    """The key of the ledger, the queues and the logs, for the length of the block."""
    kms = lastgood.client("kms")
    key = kms.describe_key(KeyId="alias/lastgood")["KeyMetadata"]["KeyId"]
    kms.disable_key(KeyId=key)
    try:
        yield
    finally:
        kms.enable_key(KeyId=key)


def test_messages_wait_while_the_role_of_their_function_cannot_be_assumed(night: Night):
    lastgood, slot = night.installation, SLOT + 6 * HOUR

    with lastgood.trusting_nobody(lastgood.role_of("create_snapshots")):
        lastgood.plan(source=night.web, slot=slot.isoformat())
        lastgood.cloud.advance(by=timedelta(minutes=5))
        meanwhile = lastgood.points_at(slot)
    lastgood.cloud.advance(by=HOUR)

    assert meanwhile == {}
    assert available(lastgood, slot) == {night.web}
    assert lastgood.dead_letters("create_snapshots") == []


def test_a_schedule_whose_role_may_not_invoke_leaves_a_dead_letter_with_the_error(night: Night):
    lastgood, slot = night.installation, SLOT + timedelta(days=1)
    lastgood.skip(to=slot - HOUR)
    iam, role = lastgood.client("iam"), lastgood.schedule_role().rsplit("/", 1)[-1]
    policy = iam.get_role_policy(RoleName=role, PolicyName="Granted")["PolicyDocument"]
    statements = [one for one in policy["Statement"] if one["Action"] != "lambda:InvokeFunction"]
    less = json.dumps({**policy, "Statement": statements})
    iam.put_role_policy(RoleName=role, PolicyName="Granted", PolicyDocument=less)

    lastgood.cloud.advance(to=slot + timedelta(minutes=5))

    iam.put_role_policy(RoleName=role, PolicyName="Granted", PolicyDocument=json.dumps(policy))
    (letter,) = lastgood.dead_letters("plan_snapshots")
    assert json.loads(letter["body"]) == {"policy": "web-daily", "slot": "2026-03-02T02:00:00Z"}
    assert letter["attributes"]["ERROR_CODE"] == "AccessDeniedException"
    assert "lambda:InvokeFunction" in letter["attributes"]["ERROR_MESSAGE"]
    # The body is the planner's own input: a person sends it again as it is.
    assert lastgood.invoke("plan_snapshots", json.loads(letter["body"])).error is None
    lastgood.cloud.advance(by=timedelta(minutes=20))
    assert available(lastgood, slot) >= {night.web, night.sleepy, night.away}


def test_a_schedule_whose_role_cannot_be_assumed_cannot_leave_a_dead_letter_either(night: Night):
    # Scheduler sends dead letters under the same role (Scheduler User Guide, "Configuring a
    # schedule's dead-letter queue"), so only its own metrics tell.
    lastgood, slot = night.installation, SLOT + timedelta(days=2)
    lastgood.skip(to=slot - HOUR)
    before = len(lastgood.cloud.state()["lost"])

    with lastgood.trusting_nobody(lastgood.schedule_role()):
        lastgood.cloud.advance(to=slot + timedelta(minutes=5))

    (lost,) = lastgood.cloud.state()["lost"][before:]
    assert lost["what"] == "unfired schedule"
    assert json.loads(lost["body"])["policy"] == "web-daily"
    assert lost["attributes"]["ERROR_CODE"] == "AccessDeniedException"
    assert "does not let scheduler.amazonaws.com assume it" in lost["attributes"]["ERROR_MESSAGE"]
    assert lastgood.dead_letters("plan_snapshots") == []

    # Nobody has to do anything: the sweep starts the slot itself, and tells people so.
    lastgood.cloud.advance(by=HOUR)
    assert available(lastgood, slot) >= {night.web, night.sleepy, night.away}
    told = [one["subject"] for one in lastgood.cloud.state()["notices"]]
    assert told.count("Lastgood: web-daily was not started at 2026-03-03 02:00 UTC") == 1
