"""Restores: what they may do, in the home Region and in one that copies go to; and chat."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.bundle import CHAT, CLONE_ROLES
from infra.catalog import BY_NAME, CATALOG, RESTORING, Row
from infra.chat import ChatInvalid
from infra.constructs.restore_machine import FILE, STEPS
from lastgood import codec
from lastgood.domain.chat_permissions import Permissions
from tests.infra.conftest import ACCOUNT, AWAY, HOME, Synthesised, synthesise
from tests.infra.test_grants import bound_to_tags, listed

DESTINATION = f"Lastgood-{AWAY}"
BOTH = pytest.mark.parametrize(("stack", "region"), [("Lastgood", HOME), (DESTINATION, AWAY)])
CLONER, RESTORER, CHECKER, UNDOER = (BY_NAME[name] for name in RESTORING)
POINT, RESTORE = "lastgood:point", "lastgood:restore"


def on_ec2(
    row: Row, action: str, bundle: Synthesised, stack: str = "Lastgood"
) -> list[dict[str, Any]]:
    return [one for one in bundle.granted(row, stack) if f"ec2:{action}" in listed(one["Action"])]


def kinds(statement: dict[str, Any]) -> set[str]:
    """Of its resources: ``instance``."""
    return {one.rpartition(":")[2].partition("/")[0] for one in listed(statement["Resource"])}


def named(value: Row | str | set[str]) -> str:
    """The same in every process of pytest's: a set has no order."""
    if isinstance(value, Row):
        return value.name
    return value if isinstance(value, str) else "+".join(sorted(value))


# what is made, and removed


@pytest.mark.parametrize(
    ("row", "action", "made"),
    [
        (RESTORER, "RunInstances", {"instance", "network-interface", "volume"}),
        (CLONER, "RunInstances", {"instance", "network-interface", "volume"}),
        (RESTORER, "CreateVolume", {"volume"}),
        (RESTORER, "RegisterImage", {"image"}),
        (RESTORER, "CopySnapshot", {"snapshot"}),
        (RESTORER, "CreateReplaceRootVolumeTask", {"replace-root-volume-task"}),
    ],
    ids=named,
)
def test_a_restore_makes_nothing_without_its_tag(
    row: Row, action: str, made: set[str], bundle: Synthesised
) -> None:
    needing, free = set(), set()
    for one in on_ec2(row, action, bundle):
        needs = one["Condition"].get("Null") == {f"aws:RequestTag/{RESTORE}": "false"}
        (needing if needs else free).update(kinds(one))

    assert needing == made
    # The snapshot that is copied is one as well as its copy.
    assert not free & (made - {"snapshot"})


@pytest.mark.parametrize("action", ["RegisterImage", "CreateVolume", "CopySnapshot"])
def test_a_restore_is_made_from_snapshots_of_points_or_its_own_copies_of_them(
    action: str, bundle: Synthesised
) -> None:
    conditions = [
        one["Condition"]["Null"]
        for one in on_ec2(RESTORER, action, bundle)
        if "snapshot" in kinds(one)
    ]

    own = "Request" if action == "CopySnapshot" else "Resource"
    assert sorted(map(json.dumps, conditions)) == sorted(
        json.dumps({key: "false"})
        for key in (f"aws:ResourceTag/{POINT}", f"aws:{own}Tag/{RESTORE}")
    )


@BOTH
@pytest.mark.parametrize("row", [RESTORER, UNDOER], ids=lambda row: row.name)
def test_nothing_is_removed_that_does_not_bear_the_tag_of_a_restore(
    row: Row, stack: str, region: str, bundle: Synthesised
) -> None:
    removing = [
        one
        for action in ("TerminateInstances", "DeleteVolume", "DeregisterImage", "DeleteSnapshot")
        for one in on_ec2(row, action, bundle, stack)
    ]

    assert len(removing) == (4 if row is UNDOER else 3), "what makes clones terminates none"
    for one in removing:
        assert one["Condition"]["Null"][f"aws:ResourceTag/{RESTORE}"] == "false"
        assert region in one["Condition"]["StringEquals"]["aws:RequestedRegion"]


def test_a_snapshot_that_is_held_or_of_a_point_is_not_removed_by_a_restore(
    bundle: Synthesised,
) -> None:
    for row in (RESTORER, UNDOER):
        (statement,) = on_ec2(row, "DeleteSnapshot", bundle)

        assert statement["Condition"]["Null"]["aws:ResourceTag/lastgood:point"] == "true"
        assert statement["Condition"]["Null"]["aws:ResourceTag/lastgood:hold"] == "true"
        assert statement["Condition"]["StringEquals"]["aws:ResourceAccount"] == ACCOUNT


def test_who_keeps_a_clone_may_take_from_it_only_the_tag_that_it_will_go(
    bundle: Synthesised,
) -> None:
    (statement,) = on_ec2(CLONER, "DeleteTags", bundle)

    assert statement["Condition"]["ForAllValues:StringEquals"] == {
        "aws:TagKeys": ["lastgood:temporary"]
    }
    assert statement["Condition"]["Null"] == {
        f"aws:ResourceTag/{RESTORE}": "false",
        "aws:TagKeys": "false",
    }


def test_a_volume_of_a_source_gets_tags_with_that_of_a_restore_only_and_loses_no_others(
    bundle: Synthesised,
) -> None:
    for row in (RESTORER, UNDOER):
        for one in on_ec2(row, "CreateTags", bundle):
            conditions = one["Condition"]
            assert (
                "ec2:CreateAction" in conditions["StringEquals"]
                or f"aws:ResourceTag/{RESTORE}" in conditions["Null"]
                or f"aws:RequestTag/{RESTORE}" in conditions["Null"]
            )
    (untagging,) = on_ec2(UNDOER, "DeleteTags", bundle)
    assert untagging["Condition"]["ForAllValues:StringEquals"]["aws:TagKeys"] == [
        *(RESTORE, "lastgood:restored-from", "lastgood:temporary"),
    ]


# what is changed


@pytest.mark.parametrize("row", [RESTORER, UNDOER], ids=lambda row: row.name)
@pytest.mark.parametrize("action", ["StopInstances", "StartInstances", "ModifyInstanceAttribute"])
def test_instances_are_changed_that_a_policy_selects_or_a_restore_made_and_no_others(
    row: Row, action: str, bundle: Synthesised
) -> None:
    made, selected = on_ec2(row, action, bundle)

    assert made["Resource"] == selected["Resource"] == f"arn:aws:ec2:*:{ACCOUNT}:instance/*"
    assert made["Condition"]["Null"] == {f"aws:ResourceTag/{RESTORE}": "false"}
    # Policies that name one key, the same, are one.
    values = selected["Condition"]["StringEquals"]["aws:ResourceTag/backup"]
    assert {"daily", "volume"} <= set(values)
    assert len(values) == 2 + 110


TEAMS = f"""
policies:
  web:
    select: {{resource: instance, tags: {{team: [web], stage: [prod, test]}}, regions: [{HOME}]}}
    retention: {{keep_last: 3}}
  web-weekly:
    select: {{resource: instance, tags: {{team: [web], stage: [prod, test]}}, regions: [{HOME}]}}
    retention: {{keep_last: 9}}
  db:
    select: {{resource: instance, tags: {{team: [db]}}, regions: [{AWAY}]}}
    retention: {{keep_last: 3}}
    copies: [{{region: eu-central-1}}]
"""


def test_a_deployment_may_say_which_roles_clones_have(two_regions: Path, tmp_path: Path) -> None:
    roles = {CLONE_ROLES: "app/*, web"}
    app = synthesise(tmp_path / "out", two_regions, context=roles)

    for stack in ("Lastgood", DESTINATION):
        for row in (CLONER, RESTORER):
            (passing,) = [
                one
                for one in app.granted(row, stack)
                if "iam:PassRole" in listed(one["Action"])
                and one["Condition"]["StringEquals"]["iam:PassedToService"] == "ec2.amazonaws.com"
            ]
            names = [json.dumps(one).split(":role/")[1] for one in listed(passing["Resource"])]
            assert [name.split('"')[0] for name in names] == ["app/*", "web"]


def test_tags_that_a_policy_wants_together_are_wanted_together(tmp_path: Path) -> None:
    path = tmp_path / "policies.yaml"
    path.write_text(TEAMS)
    app = synthesise(tmp_path / "out", path)

    def wanted(stack: str) -> list[dict[str, Any]]:
        return [
            {
                key.rpartition("/")[2]: values
                for key, values in one["Condition"]["StringEquals"].items()
                if key.startswith("aws:ResourceTag/")
            }
            for one in on_ec2(UNDOER, "StopInstances", app, stack)
        ]

    assert wanted("Lastgood") == [
        {},
        {"team": ["db"]},
        {"team": ["web"], "stage": ["prod", "test"]},
    ]
    # There are only copies, and so nothing that is restored in place.
    assert wanted("Lastgood-eu-central-1") == [{}]


def test_a_command_runs_only_where_an_instance_may_be_changed(bundle: Synthesised) -> None:
    on = {
        resource: bound_to_tags(one)
        for one in bundle.granted(CHECKER)
        if "ssm:SendCommand" in listed(one["Action"])
        for resource in listed(one["Resource"])
    }

    assert on == {
        f"arn:aws:ec2:*:{ACCOUNT}:instance/*": True,
        f"arn:aws:ssm:*:{ACCOUNT}:document/*": False,
        "arn:aws:ssm:*::document/*": False,
    }


# roles


def ending_role(bundle: Synthesised, stack: str) -> tuple[str, dict[str, Any]]:
    ((name, role),) = (
        (name, one)
        for name, one in bundle.resources("AWS::IAM::Role", stack).items()
        if one["Description"] == "Lastgood's schedules: end what has a time to live"
    )
    return name, role


@BOTH
def test_a_role_is_passed_to_ec2_or_to_the_schedules_of_endings_and_to_nobody_else(
    stack: str, region: str, bundle: Synthesised
) -> None:
    name, _ = ending_role(bundle, stack)

    passed = {
        row.name: {
            (
                one["Condition"]["StringEquals"]["iam:PassedToService"],
                json.dumps(one["Resource"]),
            )
            for one in bundle.granted(row, stack)
            if "iam:PassRole" in listed(one["Action"])
        }
        for row in (CLONER, RESTORER, CHECKER, UNDOER)
    }

    both = {
        ("ec2.amazonaws.com", json.dumps(f"arn:aws:iam::{ACCOUNT}:role/*")),
        ("scheduler.amazonaws.com", json.dumps({"Fn::GetAtt": [name, "Arn"]})),
    }
    assert passed == {
        CLONER.name: both,
        RESTORER.name: both,
        CHECKER.name: set(),
        UNDOER.name: set(),
    }


@BOTH
def test_the_end_of_a_time_to_live_starts_the_machine_and_leaves_a_dead_letter_if_it_cannot(
    stack: str, region: str, bundle: Synthesised
) -> None:
    name, role = ending_role(bundle, stack)
    letters, _ = bundle.named(
        "AWS::SQS::Queue", "QueueName", "lastgood-restores-dead-letters", stack
    )
    (group,) = (
        one["Name"]
        for one in bundle.resources("AWS::Scheduler::ScheduleGroup", stack).values()
        if one["Name"] != "lastgood"
    )

    granted = {action: one for one in bundle.rights(role) for action in listed(one["Action"])}
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    told = bundle.function(RESTORER, stack)["Environment"]["Variables"]

    assert granted.keys() == {
        *("states:StartExecution", "sqs:SendMessage"),
        *("kms:Decrypt", "kms:GenerateDataKey"),
    }
    machine = f"arn:aws:states:{region}:{ACCOUNT}:stateMachine:lastgood-restore"
    assert granted["states:StartExecution"]["Resource"] == told["LASTGOOD_MACHINE"] == machine
    assert granted["sqs:SendMessage"]["Resource"] == {"Fn::GetAtt": [letters, "Arn"]}
    assert told["LASTGOOD_ENDING_LETTERS"] == {"Fn::GetAtt": [letters, "Arn"]}
    assert told["LASTGOOD_ENDING_ROLE"] == {"Fn::GetAtt": [name, "Arn"]}
    assert told["LASTGOOD_ENDINGS"] == group == "lastgood-restores"
    assert trust["Condition"]["StringEquals"] == {
        "aws:SourceAccount": ACCOUNT,
        "aws:SourceArn": f"arn:aws:scheduler:{region}:{ACCOUNT}:schedule-group/{group}",
    }


# the machine


@BOTH
def test_the_machine_is_that_of_the_file_with_our_functions(
    stack: str, region: str, bundle: Synthesised
) -> None:
    (machine,) = bundle.resources("AWS::StepFunctions::StateMachine", stack).values()
    functions = {
        name: one["FunctionName"]
        for name, one in bundle.resources("AWS::Lambda::Function", stack).items()
    }

    given = {
        name: functions[value["Fn::GetAtt"][0]]
        for name, value in machine["DefinitionSubstitutions"].items()
    }

    assert machine["StateMachineName"] == "lastgood-restore"
    assert machine.get("StateMachineType", "STANDARD") == "STANDARD"
    assert json.loads(machine["DefinitionString"]) == json.loads(FILE.read_text())
    assert given == {name: BY_NAME[row].physical_name for name, row in STEPS.items()}


@BOTH
def test_the_machine_logs_every_state_and_nothing_that_goes_in_or_out(
    stack: str, region: str, bundle: Synthesised
) -> None:
    (machine,) = bundle.resources("AWS::StepFunctions::StateMachine", stack).values()
    name, log = bundle.named(
        "AWS::Logs::LogGroup", "LogGroupName", "/aws/vendedlogs/states/lastgood-restore", stack
    )

    logging = machine["LoggingConfiguration"]

    assert (logging["Level"], logging["IncludeExecutionData"]) == ("ALL", False)
    (destination,) = logging["Destinations"]
    assert destination["CloudWatchLogsLogGroup"]["LogGroupArn"] == {"Fn::GetAtt": [name, "Arn"]}
    assert log["RetentionInDays"] == 90
    assert "KmsKeyId" in log


@BOTH
def test_the_machine_invokes_the_functions_of_its_steps_and_no_others(
    stack: str, region: str, bundle: Synthesised
) -> None:
    (machine,) = bundle.resources("AWS::StepFunctions::StateMachine", stack).values()
    role = bundle.resources("AWS::IAM::Role", stack)[machine["RoleArn"]["Fn::GetAtt"][0]]

    (invoking,) = (
        one
        for one in bundle.rights(role, stack)
        if "lambda:InvokeFunction" in listed(one["Action"])
    )
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]

    assert sorted(map(json.dumps, invoking["Resource"])) == sorted(
        map(json.dumps, machine["DefinitionSubstitutions"].values())
    )
    assert trust["Condition"]["StringEquals"] == {
        "aws:SourceAccount": ACCOUNT,
        "aws:SourceArn": f"arn:aws:states:{region}:{ACCOUNT}:stateMachine:lastgood-restore",
    }


# without home


def test_a_destination_has_the_functions_of_restores_under_the_same_names(
    bundle: Synthesised,
) -> None:
    there = {
        one["FunctionName"]: one
        for one in bundle.resources("AWS::Lambda::Function", DESTINATION).values()
    }

    assert set(there) == {BY_NAME[name].physical_name for name in RESTORING}
    for row in (CLONER, RESTORER, CHECKER, UNDOER):
        at_home = bundle.function(row)
        assert there[row.physical_name]["Code"]["S3Key"] == at_home["Code"]["S3Key"]
        variables = there[row.physical_name]["Environment"]["Variables"]
        assert variables["LASTGOOD_REGION"] == AWAY
        assert variables["LASTGOOD_TABLE"] == "lastgood-ledger"


def test_nothing_of_a_restore_in_a_destination_comes_home(bundle: Synthesised) -> None:
    """So it works when home is not there. Policies name their Regions, and functions are told
    where they are not."""
    template = bundle.template(DESTINATION)["Resources"]
    naming = {
        name: one
        for name, one in template.items()
        if HOME in json.dumps(one) and not name.startswith("Forwarder")
    }

    assert {one["Type"] for one in naming.values()} == {
        "AWS::Lambda::Function",
        "AWS::SSM::Parameter",
    }
    for one in naming.values():
        variables = one["Properties"].get("Environment", {}).get("Variables", {})
        told = {key for key, value in variables.items() if HOME in json.dumps(value)}
        assert told <= {"LASTGOOD_HOME"}
    assert "Fn::ImportValue" not in json.dumps(template)


def test_a_destination_uses_ec2_only_in_its_own_region(bundle: Synthesised) -> None:
    regions = {
        tuple(listed(one["Condition"]["StringEquals"]["aws:RequestedRegion"]))
        for row in (CLONER, RESTORER, CHECKER, UNDOER)
        for one in bundle.granted(row, DESTINATION)
        if any(action.startswith("ec2:") for action in listed(one["Action"]))
    }

    assert regions == {(AWAY,)}


def test_a_destination_without_sources_reads_no_source_and_takes_no_safety_points(
    tmp_path: Path,
) -> None:
    path = tmp_path / "policies.yaml"
    path.write_text(TEAMS)
    app = synthesise(tmp_path / "out", path)

    stack = "Lastgood-eu-central-1"
    cloner = {one["Sid"] for one in app.granted(CLONER, stack)}
    restorer = {one["Sid"] for one in app.granted(RESTORER, stack)}

    assert not {one for one in cloner if one.startswith("ReadLaunchAttributes")}
    assert not {one for one in restorer if one.startswith("TakeSafetyPoints")}


def test_the_policies_are_in_each_region_that_restores(bundle: Synthesised) -> None:
    def policies(stack: str) -> dict[str, str]:
        return {
            one["Name"]: one["Value"]
            for one in bundle.resources("AWS::SSM::Parameter", stack).values()
            if one["Name"].startswith("/lastgood/policies/")
        }

    assert policies(DESTINATION) == policies("Lastgood") != {}


# chat


def test_chat_reads_the_secret_and_the_permissions_and_no_others(bundle: Synthesised) -> None:
    (secret,) = bundle.resources("AWS::SecretsManager::Secret")
    read = {
        action: one["Resource"]
        for one in bundle.granted(BY_NAME["chat"])
        for action in listed(one["Action"])
        if action.startswith(("secretsmanager:", "ssm:"))
    }

    assert read == {
        "secretsmanager:GetSecretValue": {"Ref": secret},
        "ssm:GetParameter": f"arn:aws:ssm:{HOME}:{ACCOUNT}:parameter/lastgood/chat",
    }


def test_the_secret_stays_and_nobody_knows_what_is_in_it_at_first(bundle: Synthesised) -> None:
    ((name, secret),) = bundle.resources("AWS::SecretsManager::Secret").items()
    whole = bundle.template("Lastgood")["Resources"][name]

    assert secret["Name"] == "lastgood/slack"
    assert secret["GenerateSecretString"] == {
        "GenerateStringKey": "signing_secret",
        "SecretStringTemplate": "{}",
    }
    assert "Fn::ImportValue" in secret["KmsKeyId"]
    assert whole["DeletionPolicy"] == "RetainExceptOnCreate"
    assert whole["UpdateReplacePolicy"] == "Retain"


def test_who_may_ask_is_a_parameter_that_reads_back(bundle: Synthesised) -> None:
    (parameter,) = (
        one
        for one in bundle.resources("AWS::SSM::Parameter").values()
        if one["Name"] == "/lastgood/chat"
    )

    read = codec.structure(json.loads(parameter["Value"]), Permissions)

    assert read.slack.team == "T0123456789"
    assert read.allow[0].who.groups == ("oncall",)
    assert parameter["Tier"] == "Intelligent-Tiering"


def test_the_url_is_among_the_outputs(bundle: Synthesised) -> None:
    ((name, url),) = bundle.resources("AWS::Lambda::Url").items()
    outputs = bundle.template("Lastgood")["Outputs"]

    assert url["AuthType"] == "NONE"
    assert "Cors" not in url
    assert outputs["ChatUrl"]["Value"] == {"Fn::GetAtt": [name, "FunctionUrl"]}


def test_without_a_chat_file_there_is_no_chat(tmp_path: Path) -> None:
    app = synthesise(tmp_path)

    functions = {one["FunctionName"] for one in app.resources("AWS::Lambda::Function").values()}

    assert functions == {row.physical_name for row in CATALOG if not row.of_chat}
    for type_ in ("Lambda::Url", "Lambda::Permission", "SecretsManager::Secret"):
        assert app.resources(f"AWS::{type_}") == {}
    assert "ChatUrl" not in app.template("Lastgood")["Outputs"]
    assert "lastgood-chat" not in json.dumps(app.template("Lastgood"))


def test_all_mistakes_in_a_chat_file_are_told_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "chat.yaml"
    path.write_text(
        "slack: {team: ops}\nallow:\n  - who: {groups: [nobody]}\n    verbs: [clone, clone]\n"
    )

    with pytest.raises(ChatInvalid) as refused:
        synthesise(tmp_path / "out", context={CHAT: str(path)})

    assert [one.partition(": ")[2].partition(": ")[0] for one in refused.value.problems] == [
        "slack.team",
        "allow[0].who.groups[0]",
        "allow[0].verbs[1]",
    ]
