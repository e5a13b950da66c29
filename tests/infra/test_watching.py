"""Who is told of what: alarms, their texts, the topic and the dashboard."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.bundle import CHAT
from infra.catalog import BY_NAME, CATALOG, PLANNER, RESTORING, SWEEPER, Every, QueueTrigger, Row
from infra.packages import ROOT
from lastgood.domain.measures import NAMESPACE, Measure
from lastgood.domain.mending import IDLE, IDLE_FOR_LIMIT, MOST_RETAKES
from tests.infra.conftest import AWAY, Synthesised, synthesise

ROWS = pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.name)
SWEEP = BY_NAME[SWEEPER].physical_name


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory, chat_file: Path) -> Synthesised:
    """With the policies that come with it, which have an rpo, and somebody to tell."""
    return synthesise(
        tmp_path_factory.mktemp("shipped"),
        context={"lastgood:email": "night@example.com", CHAT: str(chat_file)},
    )


def alarms(bundle: Synthesised, stack: str = "Lastgood") -> dict[str, dict[str, Any]]:
    found = bundle.resources("AWS::CloudWatch::Alarm", stack).values()
    return {one["AlarmName"]: one for one in found}


def watched(alarm: dict[str, Any]) -> tuple[str, str, dict[str, str]]:
    dimensions = {one["Name"]: one["Value"] for one in alarm["Dimensions"]}
    return alarm["Namespace"], alarm["MetricName"], dimensions


def shown(value: Any) -> str:
    """A text as it will be, with an id as long as any for each reference."""
    if isinstance(value, str):
        return value
    if "Fn::Join" in value:
        return "".join(map(shown, value["Fn::Join"][1]))
    return f"https://sqs.ap-southeast-2.amazonaws.com/123456789012/{'x' * 40}"


# alarms


@ROWS
def test_a_function_is_watched_for_errors_and_throttles(row: Row, shipped: Synthesised) -> None:
    name = row.physical_name
    found = alarms(shipped)

    errors, throttles = (watched(found[f"{name}-{what}"]) for what in ("errors", "throttles"))

    assert errors == ("AWS/Lambda", "Errors", {"FunctionName": name})
    assert throttles == ("AWS/Lambda", "Throttles", {"FunctionName": name})


BURYING = pytest.mark.parametrize(
    "row", [row for row in CATALOG if row.buries], ids=lambda row: row.name
)


@BURYING
def test_a_function_is_watched_for_dead_letters_if_it_has_some(
    row: Row, shipped: Synthesised
) -> None:
    alarm = alarms(shipped)[f"{row.physical_name}-dead-letters"]

    queue = {"QueueName": f"{row.physical_name}-dead-letters"}
    assert watched(alarm) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible", queue)
    assert alarm["Threshold"] == 0


def test_an_undo_that_gives_up_is_told_of_at_its_first_error(shipped: Synthesised) -> None:
    alarm = alarms(shipped)["lastgood-undo-restore-errors"]

    assert (alarm["Threshold"], alarm["Statistic"]) == (0, "Sum")
    assert "redrive-execution" in shown(alarm["AlarmDescription"])


def test_an_end_that_scheduler_could_not_start_is_told_of(shipped: Synthesised) -> None:
    queue, _ = shipped.named("AWS::SQS::Queue", "QueueName", "lastgood-restores-dead-letters")

    alarm = alarms(shipped)["lastgood-restores-dead-letters"]

    named = {"QueueName": "lastgood-restores-dead-letters"}
    assert watched(alarm) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible", named)
    assert queue in json.dumps(alarm["AlarmDescription"])


def test_restores_are_watched_in_each_region_that_they_are_made_in(bundle: Synthesised) -> None:
    away = alarms(bundle, f"Lastgood-{AWAY}")
    (topic,) = bundle.resources("AWS::SNS::Topic", f"Lastgood-{AWAY}")

    assert set(away) == {
        "lastgood-restores-dead-letters",
        *(
            f"{BY_NAME[name].physical_name}-{what}"
            for name in RESTORING
            for what in ("errors", "throttles")
        ),
    }
    assert away.keys() < alarms(bundle).keys()
    assert all(one["AlarmActions"] == [{"Ref": topic}] for one in away.values())


@ROWS
def test_a_queue_is_watched_for_messages_as_old_as_its_row_says(
    row: Row, shipped: Synthesised
) -> None:
    alarm = alarms(shipped).get(f"{row.physical_name}-old-messages")

    if not isinstance(row.trigger, QueueTrigger):
        assert alarm is None
        return
    assert alarm is not None
    assert alarm["Threshold"] == row.trigger.old.total_seconds()
    assert watched(alarm)[2] == {"QueueName": row.physical_name}


@BURYING
def test_a_dead_letter_is_moved_back_or_its_alarm_says_how_to_take_it_out(
    row: Row, shipped: Synthesised
) -> None:
    text = shown(alarms(shipped)[f"{row.physical_name}-dead-letters"]["AlarmDescription"])

    assert ("aws sqs start-message-move-task " in text) != ("aws sqs purge-queue " in text)


def test_a_point_that_was_asked_for_twice_is_told_of_however_long_a_sweep_waits_between(
    shipped: Synthesised,
) -> None:
    alarm = alarms(shipped)["lastgood-points-stuck"]

    counted = (alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"])
    assert counted == ("Sum", "GreaterThanThreshold", 1)
    assert alarm["EvaluationPeriods"] == alarm["DatapointsToAlarm"] == 1
    longest = max(IDLE_FOR_LIMIT, IDLE * (1 << MOST_RETAKES))
    assert timedelta(seconds=alarm["Period"]) > longest + timedelta(minutes=15)


def test_a_sweep_that_did_not_run_three_times_in_a_row_is_told_of(shipped: Synthesised) -> None:
    trigger = BY_NAME[SWEEPER].trigger
    assert isinstance(trigger, Every)

    alarm = alarms(shipped)["lastgood-sweep-did-not-run"]

    assert watched(alarm) == ("AWS/Lambda", "Invocations", {"FunctionName": SWEEP})
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
    assert alarm["Period"] * alarm["EvaluationPeriods"] == 3 * trigger.minutes * 60
    assert alarm["TreatMissingData"] == "breaching"


def test_alarms_come_after_the_schedules_whose_absence_they_tell_of(shipped: Synthesised) -> None:
    resources = shipped.template("Lastgood")["Resources"]
    (after,) = (
        one["DependsOn"]
        for one in resources.values()
        if one.get("Properties", {}).get("AlarmName") == "lastgood-sweep-did-not-run"
    )

    assert {resources[name]["Properties"]["Name"] for name in after} >= {SWEEP}


def test_the_schedules_are_watched_as_a_group(shipped: Synthesised) -> None:
    found = [watched(one) for one in alarms(shipped).values()]

    group = {"ScheduleGroup": "lastgood"}
    assert ("AWS/Scheduler", "TargetErrorCount", group) in found
    assert ("AWS/Scheduler", "InvocationsFailedToBeSentToDeadLetterCount", group) in found


def test_each_policy_is_watched_for_its_slots_its_rpo_and_its_prunes(shipped: Synthesised) -> None:
    ours = {
        name: watched(one) for name, one in alarms(shipped).items() if one["Namespace"] == NAMESPACE
    }

    def of_sweep(measure: Measure, **by: str) -> tuple[str, str, dict[str, str]]:
        return NAMESPACE, measure.value, {"service": SWEEP, **by}

    assert ours == {
        "lastgood-points-stuck": of_sweep(Measure.POINTS_STUCK),
        "lastgood-data-volumes-not-started": of_sweep(
            Measure.SLOTS_CAUGHT_UP, policy="data-volumes"
        ),
        "lastgood-web-daily-not-started": of_sweep(Measure.SLOTS_CAUGHT_UP, policy="web-daily"),
        "lastgood-web-daily-past-rpo": of_sweep(Measure.SOURCES_PAST_RPO, policy="web-daily"),
        **{
            f"lastgood-{policy}-prune-stopped": (
                NAMESPACE,
                Measure.PRUNES_STOPPED.value,
                {"service": "lastgood-prune-snapshots", "policy": policy},
            )
            for policy in ("data-volumes", "web-daily")
        },
    }


def test_nothing_rings_at_first_deployment_but_what_the_dead_mans_handle_may(
    shipped: Synthesised,
) -> None:
    without_data = {
        name for name, one in alarms(shipped).items() if one["TreatMissingData"] == "breaching"
    }

    assert without_data == {"lastgood-sweep-did-not-run"}


def test_sources_past_their_rpo_stay_told_of_while_no_sweep_counts(shipped: Synthesised) -> None:
    assert alarms(shipped)["lastgood-web-daily-past-rpo"]["TreatMissingData"] == "ignore"


def test_every_alarm_tells_the_topic_when_it_begins_and_when_it_is_over(
    shipped: Synthesised,
) -> None:
    (topic,) = shipped.resources("AWS::SNS::Topic")

    for alarm in alarms(shipped).values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": topic}]


def test_every_alarm_is_one_that_the_topic_listens_to(shipped: Synthesised) -> None:
    assert all(name.startswith("lastgood-") for name in alarms(shipped))


def test_every_alarm_says_to_a_person_what_it_means_and_gives_a_command(
    shipped: Synthesised,
) -> None:
    for name, alarm in alarms(shipped).items():
        text = shown(alarm["AlarmDescription"])

        assert re.search(r"\baws [a-z]+ [a-z-]+ ", text), name
        assert len(text) <= 1024, f"{name}: CloudWatch takes no more"
        assert "\n" not in text


# the topic


def test_the_topic_is_encrypted_with_our_key(shipped: Synthesised) -> None:
    (topic,) = shipped.resources("AWS::SNS::Topic").values()

    assert topic["TopicName"] == "lastgood-notices"
    assert "Key961B73FD" in json.dumps(topic["KmsMasterKeyId"])


def test_an_address_is_told_if_there_is_one(shipped: Synthesised, bundle: Synthesised) -> None:
    (subscription,) = shipped.resources("AWS::SNS::Subscription").values()

    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "night@example.com")
    assert bundle.resources("AWS::SNS::Subscription") == {}


# the dashboard


@pytest.fixture(scope="module")
def dashboard(shipped: Synthesised) -> list[dict[str, Any]]:
    (made,) = shipped.resources("AWS::CloudWatch::Dashboard").values()
    assert made["DashboardName"] == "lastgood"
    body = made["DashboardBody"]
    if not isinstance(body, str):
        body = "".join(part if isinstance(part, str) else "x" for part in body["Fn::Join"][1])
    widgets: list[dict[str, Any]] = json.loads(body)["widgets"]
    return widgets


def test_the_dashboard_begins_with_what_to_look_at_first(dashboard: list[dict[str, Any]]) -> None:
    first, second = dashboard[:2]

    assert first["type"] == "text"
    assert "Look first" in first["properties"]["markdown"]
    assert second["type"] == "alarm"


def test_the_dashboard_shows_every_measure(dashboard: list[dict[str, Any]]) -> None:
    lines = [line for one in dashboard for line in one["properties"].get("metrics", [])]
    plain = {line[1] for line in lines if line[0] == NAMESPACE}
    searched = {
        name
        for line in lines
        if isinstance(line[0], dict)
        for name in re.findall(r'MetricName="(\w+)"', line[0]["expression"])
    }

    assert plain | searched == {measure.value for measure in Measure}


@ROWS
def test_the_dashboard_shows_every_function(row: Row, dashboard: list[dict[str, Any]]) -> None:
    shown_of = {
        tuple(line[:4])
        for one in dashboard
        for line in one["properties"].get("metrics", [])
        if isinstance(line[0], str)
    }

    name = row.physical_name
    visible = "ApproximateNumberOfMessagesVisible"
    assert {
        ("AWS/Lambda", "Errors", "FunctionName", name),
        ("AWS/Lambda", "Throttles", "FunctionName", name),
        ("AWS/Lambda", "Duration", "FunctionName", name),
    } <= shown_of
    buried = ("AWS/SQS", visible, "QueueName", f"{name}-dead-letters")
    assert (buried in shown_of) == row.buries


def test_commands_in_texts_name_functions_that_there_are(shipped: Synthesised) -> None:
    names = {row.physical_name for row in CATALOG}
    texts = [shown(one["AlarmDescription"]) for one in alarms(shipped).values()]

    named = {name for text in texts for name in re.findall(r"--function-name (\S+)", text)}
    logs = {name for text in texts for name in re.findall(r"/aws/lambda/(\S+?)[.,]?(?:\s|$)", text)}

    assert BY_NAME[PLANNER].physical_name in named
    assert named | logs <= names


def test_the_policies_file_that_comes_with_it_was_read(shipped: Synthesised) -> None:
    assert "rpo: 26h" in Path(ROOT / "policies.yaml").read_text()
    assert "26h" in shown(alarms(shipped)["lastgood-web-daily-past-rpo"]["AlarmDescription"])
