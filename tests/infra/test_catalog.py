"""Every row of the catalog gives a whole Lambda, and every Lambda is in the catalog."""

import json
from dataclasses import fields
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import pytest

from infra.bundle import CHAT
from infra.catalog import (
    BY_NAME,
    CATALOG,
    CLONER,
    RESTORING,
    Asked,
    EbsEvents,
    QueueTrigger,
    Row,
    Scheduled,
)
from infra.constructs import function
from infra.packages import ROOT
from lastgood import codec
from lastgood.aws.bus import ebs_event
from lastgood.domain.requests import TakeRequest
from lastgood.settings import PREFIX, Settings
from plan_snapshots.usecase import PlanRequest
from tests.infra.conftest import ACCOUNT, AWAY, HOME, Synthesised, synthesise

SERVICE = "POWERTOOLS_SERVICE_NAME"
"""The one variable that Powertools reads, and not our settings."""

every_row = pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.name)
every_queue = pytest.mark.parametrize(
    "row",
    [row for row in CATALOG if isinstance(row.trigger, QueueTrigger)],
    ids=lambda row: row.name,
)
every_row_that_buries = pytest.mark.parametrize(
    "row", [row for row in CATALOG if row.buries], ids=lambda row: row.name
)
EVENTS = ROOT / "tests/events"


def event(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def key_of(value: Any) -> bool:
    """Whether it is the key of the state stack."""
    return "Key961B73FD" in json.dumps(value)


def mapping_of(row: Row, bundle: Synthesised) -> dict[str, Any]:
    name, _ = bundle.named("AWS::Lambda::Function", "FunctionName", row.physical_name)
    found: dict[str, Any]
    (found,) = (
        one
        for one in bundle.resources("AWS::Lambda::EventSourceMapping").values()
        if one["FunctionName"] == {"Ref": name}
    )
    return found


# what a row needs beside it


@every_row
def test_a_row_has_its_folder_its_event_and_its_unit_test(row: Row) -> None:
    assert (ROOT / "functions" / row.name / "handler.py").is_file()
    assert (EVENTS / f"{row.name}.json").is_file()
    assert (ROOT / "tests/unit" / f"test_{row.name}.py").is_file()


def test_a_folder_has_its_row() -> None:
    folders = {path.parent.name for path in (ROOT / "functions").glob("*/handler.py")}

    assert folders == {row.name for row in CATALOG}


def test_the_events_of_the_samples_are_understood() -> None:
    (take,) = event("create_snapshots")["Records"]
    (ended,) = event("record_snapshot")["Records"]

    plan = codec.structure(event("plan_snapshots"), PlanRequest)
    request = codec.structure(json.loads(take["body"]), TakeRequest)
    snapshots = ebs_event(json.loads(ended["body"]))

    assert plan.slot == request.slot
    assert len(snapshots.snapshots) == len(request.volumes)


@every_queue
def test_a_sample_comes_from_the_queue_of_its_row(row: Row) -> None:
    for record in event(row.name)["Records"]:
        assert record["eventSourceARN"].rsplit(":", 1)[-1] == row.physical_name


# what a row gives


@every_row
def test_a_function_runs_as_the_row_says(row: Row, bundle: Synthesised) -> None:
    made = bundle.function(row)

    assert made["Handler"] == f"{row.name}.handler.handler"
    assert (made["Runtime"], made["Architectures"]) == ("python3.13", ["arm64"])
    assert (made["Timeout"], made["MemorySize"]) == (row.timeout, row.memory)
    assert made["LoggingConfig"]["LogFormat"] == "JSON"


def test_no_two_functions_share_a_role(bundle: Synthesised) -> None:
    roles = [bundle.function(row)["Role"]["Fn::GetAtt"][0] for row in CATALOG]

    assert len(set(roles)) == len(CATALOG)


@every_row
def test_a_log_is_encrypted_kept_for_90_days_and_goes_with_the_stack(
    row: Row, bundle: Synthesised
) -> None:
    name, log = bundle.named(
        "AWS::Logs::LogGroup", "LogGroupName", f"/aws/lambda/{row.physical_name}"
    )

    assert log["RetentionInDays"] == 90
    assert key_of(log["KmsKeyId"])
    assert bundle.template("Lastgood")["Resources"][name]["DeletionPolicy"] == "Delete"
    assert bundle.function(row)["LoggingConfig"]["LogGroup"] == {"Ref": name}


@every_row
def test_a_function_is_told_what_its_settings_ask_for(row: Row, bundle: Synthesised) -> None:
    variables = bundle.function(row)["Environment"]["Variables"]
    shown = {name: value if isinstance(value, str) else "x" for name, value in variables.items()}

    settings = Settings.from_env(shown)

    assert variables.keys() - {SERVICE} <= {
        PREFIX + field.name.upper() for field in fields(Settings)
    }
    assert variables[SERVICE] == row.physical_name
    assert settings.timeout == str(row.timeout)
    if isinstance(row.trigger, QueueTrigger):
        assert settings.queue
        assert settings.dead_letters
        assert settings.receives == str(row.trigger.receives)
        assert settings.workers == str(row.trigger.concurrency or 1)


FOR_SOME = (
    *("TAKE_QUEUE", "PLANNER", "TOPIC", "PRUNE_QUEUE", "PRUNER", "PLANS"),
    "COPY_QUEUE",
    *("MACHINE", "ENDINGS", "ENDING_ROLE", "ENDING_LETTERS"),
    *("CLONER", "CHAT", "SECRET"),
)


def test_a_function_is_told_only_of_what_it_may_use(bundle: Synthesised) -> None:
    told = {
        row.name: bundle.function(row)["Environment"]["Variables"].keys()
        & {f"LASTGOOD_{one}" for one in FOR_SOME}
        for row in CATALOG
    }

    endings = {f"LASTGOOD_ENDING{one}" for one in ("S", "_ROLE", "_LETTERS")}
    assert told == {
        "plan_snapshots": {"LASTGOOD_TAKE_QUEUE", "LASTGOOD_PLANNER"},
        "create_snapshots": set(),
        "record_snapshot": set(),
        "copy_snapshots": set(),
        "sweep": {
            *("LASTGOOD_TAKE_QUEUE", "LASTGOOD_COPY_QUEUE"),
            *("LASTGOOD_PLANNER", "LASTGOOD_TOPIC", "LASTGOOD_MACHINE"),
        },
        "prune_snapshots": {
            *("LASTGOOD_PRUNE_QUEUE", "LASTGOOD_PRUNER"),
            *("LASTGOOD_PLANS", "LASTGOOD_TOPIC"),
        },
        "delete_snapshots": {"LASTGOOD_PRUNE_QUEUE", "LASTGOOD_PLANS"},
        "clone_instance": {"LASTGOOD_MACHINE", *endings},
        "restore_instance": {"LASTGOOD_MACHINE", "LASTGOOD_TAKE_QUEUE", *endings},
        "check_restore": set(),
        "undo_restore": {"LASTGOOD_ENDINGS"},
        "chat": {"LASTGOOD_CHAT", "LASTGOOD_SECRET", "LASTGOOD_CLONER", "LASTGOOD_PRUNER"},
        "tell_chat": set(),
    }


def test_every_setting_is_set_for_some_function(bundle: Synthesised) -> None:
    variables = {
        name
        for row, stack in (
            *((row, "Lastgood") for row in CATALOG),
            (BY_NAME[CLONER], f"Lastgood-{AWAY}"),
        )
        for name in bundle.function(row, stack)["Environment"]["Variables"]
    }

    assert variables - {SERVICE} == {PREFIX + field.name.upper() for field in fields(Settings)}


@every_row_that_buries
def test_dead_letters_are_kept_encrypted_for_two_weeks(row: Row, bundle: Synthesised) -> None:
    _, queue = bundle.named("AWS::SQS::Queue", "QueueName", f"{row.physical_name}-dead-letters")

    assert queue["MessageRetentionPeriod"] == 14 * 24 * 3600
    assert key_of(queue["KmsMasterKeyId"])


def test_every_queue_refuses_calls_without_tls(bundle: Synthesised) -> None:
    refusing = {
        queue["Ref"]
        for policy in bundle.resources("AWS::SQS::QueuePolicy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for queue in policy["Queues"]
    }

    assert refusing == bundle.resources("AWS::SQS::Queue").keys()


@every_queue
def test_a_queue_gives_up_a_message_after_its_receives(row: Row, bundle: Synthesised) -> None:
    assert isinstance(row.trigger, QueueTrigger)
    dead, dead_queue = bundle.named(
        "AWS::SQS::Queue", "QueueName", f"{row.physical_name}-dead-letters"
    )
    _, queue = bundle.named("AWS::SQS::Queue", "QueueName", row.physical_name)

    assert queue["RedrivePolicy"] == {
        "deadLetterTargetArn": {"Fn::GetAtt": [dead, "Arn"]},
        "maxReceiveCount": row.trigger.receives,
    }
    assert queue["VisibilityTimeout"] == 6 * row.timeout
    assert queue["MessageRetentionPeriod"] < dead_queue["MessageRetentionPeriod"]
    assert key_of(queue["KmsMasterKeyId"])


@every_queue
def test_a_message_that_fails_does_not_bring_back_its_batch(row: Row, bundle: Synthesised) -> None:
    assert isinstance(row.trigger, QueueTrigger)
    mapping = mapping_of(row, bundle)
    queue, _ = bundle.named("AWS::SQS::Queue", "QueueName", row.physical_name)

    assert mapping["EventSourceArn"] == {"Fn::GetAtt": [queue, "Arn"]}
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BatchSize"] == row.trigger.batch
    limit = mapping.get("ScalingConfig", {}).get("MaximumConcurrency")
    assert limit == row.trigger.concurrency


@pytest.mark.parametrize(
    "row",
    [row for row in CATALOG if isinstance(row.trigger, EbsEvents)],
    ids=lambda row: row.name,
)
def test_ebs_events_come_by_a_rule_that_alone_may_fill_the_queue(
    row: Row, bundle: Synthesised
) -> None:
    assert isinstance(row.trigger, EbsEvents)
    queue, _ = bundle.named("AWS::SQS::Queue", "QueueName", row.physical_name)
    _, rule = bundle.named("AWS::Events::Rule", "Name", row.physical_name)

    allowed = may_fill(queue, bundle)

    assert [one["Arn"] for one in rule["Targets"]] == [{"Fn::GetAtt": [queue, "Arn"]}]
    assert "DeadLetterConfig" in rule["Targets"][0]
    assert rule["EventPattern"]["source"] == ["aws.ec2"]
    assert rule["EventPattern"]["detail"] == {"event": list(row.trigger.events)}
    assert allowed["Principal"] == {"Service": "events.amazonaws.com"}
    ours = f"arn:aws:events:{HOME}:123456789012:rule/"
    rules = {f"{ours}{row.physical_name}"}
    if row.trigger.announced:
        rules.add(f"{ours}lastgood/{row.physical_name}-announced")
        _, announced = bundle.named("AWS::Events::Rule", "Name", f"{row.physical_name}-announced")
        assert announced["EventBusName"] == "lastgood"
        assert announced["EventPattern"]["detail-type"] == ["Recovery Point Available"]
        assert announced["Targets"] == rule["Targets"]
    found = allowed["Condition"]["ArnEquals"]["aws:SourceArn"]
    assert set(found if isinstance(found, list) else [found]) == rules


def may_fill(queue: str, bundle: Synthesised) -> dict[str, Any]:
    """The one statement of its policy that lets anybody put messages into it."""
    (allowed,) = (
        statement
        for policy in bundle.resources("AWS::SQS::QueuePolicy").values()
        if policy["Queues"] == [{"Ref": queue}]
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    )
    found: dict[str, Any] = allowed
    return found


def test_how_restores_go_comes_to_chat_by_the_bus_of_announcements_alone(
    bundle: Synthesised,
) -> None:
    queue, _ = bundle.named("AWS::SQS::Queue", "QueueName", "lastgood-tell-chat")
    _, rule = bundle.named("AWS::Events::Rule", "Name", "lastgood-tell-chat-announced")

    assert rule["EventBusName"] == "lastgood"
    assert rule["EventPattern"] == {"source": ["lastgood"], "detail-type": ["Restore Progress"]}
    assert [one["Arn"] for one in rule["Targets"]] == [{"Fn::GetAtt": [queue, "Arn"]}]
    assert may_fill(queue, bundle)["Condition"] == {
        "ArnEquals": {
            "aws:SourceArn": f"arn:aws:events:{HOME}:{ACCOUNT}:rule/lastgood/"
            "lastgood-tell-chat-announced"
        }
    }
    rules = bundle.resources("AWS::Events::Rule").values()
    assert "lastgood-tell-chat" not in {one["Name"] for one in rules}


def test_what_answers_who_asked_has_neither_queues_nor_schedules(bundle: Synthesised) -> None:
    asked = [row for row in CATALOG if isinstance(row.trigger, Asked)]
    queues = {one["QueueName"] for one in bundle.resources("AWS::SQS::Queue").values()}

    assert {row.name for row in asked} == {*RESTORING, "chat"}
    assert not [one for one in queues for row in asked if one.startswith(row.physical_name)]
    for row in asked:
        assert "LASTGOOD_DEAD_LETTERS" not in bundle.function(row)["Environment"]["Variables"]


def test_who_floods_the_url_of_chat_takes_nothing_from_other_functions(
    bundle: Synthesised,
) -> None:
    reserved = {
        row.name: bundle.function(row).get("ReservedConcurrentExecutions") for row in CATALOG
    }

    assert {name: one for name, one in reserved.items() if one} == {"chat": 10}


@pytest.mark.parametrize(
    "row",
    [row for row in CATALOG if isinstance(row.trigger, Scheduled)],
    ids=lambda row: row.name,
)
def test_an_invocation_that_nobody_waits_for_ends_among_the_dead_letters(
    row: Row, bundle: Synthesised
) -> None:
    assert isinstance(row.trigger, Scheduled)
    dead, _ = bundle.named("AWS::SQS::Queue", "QueueName", f"{row.physical_name}-dead-letters")
    made, _ = bundle.named("AWS::Lambda::Function", "FunctionName", row.physical_name)

    (config,) = (
        one
        for one in bundle.resources("AWS::Lambda::EventInvokeConfig").values()
        if one["FunctionName"] == {"Ref": made}
    )

    assert config["MaximumRetryAttempts"] == row.trigger.retries
    assert config["MaximumEventAgeInSeconds"] == row.trigger.late.total_seconds()
    assert config["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": [dead, "Arn"]}


# assets


def test_editing_one_function_leaves_the_other_assets_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Synthesised, chat_file: Path
) -> None:
    functions = tmp_path / "functions"
    copytree(ROOT / "functions", functions, ignore=ignore_patterns("__pycache__"))
    monkeypatch.setattr(function, "FUNCTIONS", functions)
    edited = functions / "record_snapshot/usecase.py"
    edited.write_text(edited.read_text() + "\n# edited\n")
    (functions / "plan_snapshots/__pycache__").mkdir()
    (functions / "plan_snapshots/__pycache__/usecase.cpython-313.pyc").write_bytes(b"compiled")

    after = synthesise(tmp_path / "out", context={CHAT: str(chat_file)})

    changed = {name for name, key in bundle.assets.items() if after.assets[name] != key}
    assert changed == {"lastgood-record-snapshot"}


def test_a_second_synth_gives_the_same_assets(
    tmp_path: Path, bundle: Synthesised, chat_file: Path
) -> None:
    again = synthesise(tmp_path, context={CHAT: str(chat_file)})

    assert again.assets == bundle.assets


@every_row
def test_the_code_of_a_function_is_its_folder(row: Row, bundle: Synthesised) -> None:
    asset = bundle.function(row)["Code"]["S3Key"].removesuffix(".zip")

    files = {
        str(path.relative_to(bundle.folder / f"asset.{asset}"))
        for path in (bundle.folder / f"asset.{asset}").rglob("*")
        if path.is_file()
    }

    assert f"{row.name}/handler.py" in files
    assert all(name.startswith(f"{row.name}/") and name.endswith((".py", ".pyc")) for name in files)
