"""What is deployed besides the functions: state, schedules, policies, forwarders; and the CLI."""

import json
import os
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from infra.catalog import BY_NAME, CATALOG, PLANNER, SWEEPER, Row, Scheduled, deployed_rows
from infra.packages import ROOT
from infra.policies import load_policies
from infra.stacks.state import IN_FLIGHT, LISTED
from lastgood import codec
from lastgood.domain.copying import PointCopy
from lastgood.domain.model import Point, Run
from lastgood.domain.policy import Policy
from lastgood.domain.prune_plan import PLAN_FOR
from lastgood.ledger import keys
from plan_snapshots.usecase import PlanRequest
from sweep.usecase import SweepRequest
from tests.infra.conftest import ACCOUNT, AWAY, HOME, Synthesised, synthesise
from tests.support import table


def required(type_: type[Any]) -> set[str]:
    return {
        one.name
        for one in fields(type_)
        if one.default is MISSING and one.default_factory is MISSING
    }


def the(resources: dict[str, Any]) -> Any:
    (one,) = resources.values()
    return one


THIRD = "eu-central-1"

THREE_REGIONS = f"""
policies:
  copied:
    select: {{resource: volume, tags: {{backup: [volume]}}, regions: [{HOME}, {THIRD}]}}
    retention: {{keep_last: 3}}
    copies:
      - {{region: {AWAY}}}
  copied-home:
    select: {{resource: volume, tags: {{backup: [third]}}, regions: [{THIRD}]}}
    retention: {{keep_last: 3}}
    copies:
      - {{region: {HOME}}}
"""
"""Copies go away and come home; of the third Region there are only sources."""


@pytest.fixture(scope="module")
def three_regions(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    folder = tmp_path_factory.mktemp("three")
    (folder / "policies.yaml").write_text(THREE_REGIONS)
    return synthesise(folder / "out", folder / "policies.yaml")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """With the policies that come with it, of which none copies."""
    return synthesise(tmp_path_factory.mktemp("shipped"))


# state


def test_the_ledger_and_its_key_stay_when_the_stack_goes(bundle: Synthesised) -> None:
    kept = {
        one["Type"]
        for one in bundle.template("LastgoodState")["Resources"].values()
        if one.get("DeletionPolicy") == "RetainExceptOnCreate"
        and one.get("UpdateReplacePolicy") == "Retain"
    }

    assert kept == {"AWS::KMS::Key", "AWS::DynamoDB::GlobalTable", "AWS::S3::Bucket"}


def test_the_ledger_can_be_put_back_and_not_be_deleted_by_mistake(bundle: Synthesised) -> None:
    made = the(bundle.resources("AWS::DynamoDB::GlobalTable", "LastgoodState"))

    for replica in made["Replicas"]:
        recovery = {"PointInTimeRecoveryEnabled": True}
        assert replica["PointInTimeRecoverySpecification"] == recovery
        assert replica["DeletionProtectionEnabled"] is True
    assert made["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS"}
    assert made["BillingMode"] == "PAY_PER_REQUEST"
    assert made["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}


def shape(table: dict[str, Any]) -> dict[str, Any]:
    """Keys and indexes, in an order that says nothing."""
    indexes = {
        one["IndexName"]: (
            one["KeySchema"],
            one["Projection"]["ProjectionType"],
            sorted(one["Projection"].get("NonKeyAttributes", [])),
        )
        for one in table["GlobalSecondaryIndexes"]
    }
    types = {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]}
    return {"keys": table["KeySchema"], "indexes": indexes, "types": types}


def test_the_ledger_is_the_table_that_the_tests_of_the_ledger_run_on(bundle: Synthesised) -> None:
    deployed = the(bundle.resources("AWS::DynamoDB::GlobalTable", "LastgoodState"))

    assert deployed["TableName"] == table.NAME
    assert shape(deployed) == shape(table.TABLE)


def test_the_indexes_have_the_names_that_the_ledger_queries(bundle: Synthesised) -> None:
    deployed = the(bundle.resources("AWS::DynamoDB::GlobalTable", "LastgoodState"))

    assert {one["IndexName"] for one in deployed["GlobalSecondaryIndexes"]} == {
        keys.LISTING,
        keys.BY_SNAPSHOT,
        keys.IN_FLIGHT,
    }


def replicas(app: Synthesised) -> dict[str, Any]:
    """The key of each, by Region."""
    made = the(app.resources("AWS::DynamoDB::GlobalTable", "LastgoodState"))
    return {one["Region"]: one["SSESpecification"]["KMSMasterKeyId"] for one in made["Replicas"]}


def test_the_ledger_is_also_where_copies_are_under_the_key_that_is_there(
    bundle: Synthesised,
) -> None:
    own = next(iter(bundle.resources("AWS::KMS::Key", "LastgoodState")))

    assert replicas(bundle) == {
        HOME: {"Fn::GetAtt": [own, "Arn"]},
        AWAY: f"arn:aws:kms:{AWAY}:{ACCOUNT}:alias/lastgood",
    }


def test_the_ledgers_stream_is_on_before_there_is_a_replica(
    bundle: Synthesised, shipped: Synthesised
) -> None:
    """It can be changed only while there is one."""
    for app in (bundle, shipped):
        made = the(app.resources("AWS::DynamoDB::GlobalTable", "LastgoodState"))
        assert made["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}


def test_without_copies_the_ledger_is_at_home_only(shipped: Synthesised) -> None:
    assert list(replicas(shipped)) == [HOME]


def test_a_point_can_be_read_from_either_list_and_a_run_or_a_copy_from_one() -> None:
    assert required(Point) | required(Run) | required(PointCopy) <= set(LISTED)
    assert required(Point) <= set(IN_FLIGHT)


def test_the_indexes_hold_nothing_large_and_nothing_unknown() -> None:
    known = {one.name for one in (*fields(Point), *fields(Run), *fields(PointCopy))}

    projected = {*LISTED, *IN_FLIGHT}

    assert projected <= known
    assert not projected & {"manifest", "notes", "history"}


def test_plans_are_encrypted_private_and_gone_when_their_heads_are(bundle: Synthesised) -> None:
    made = the(bundle.resources("AWS::S3::Bucket", "LastgoodState"))
    (rule,) = made["BucketEncryption"]["ServerSideEncryptionConfiguration"]

    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert rule["BucketKeyEnabled"] is True
    assert set(made["PublicAccessBlockConfiguration"].values()) == {True}
    assert made["LifecycleConfiguration"]["Rules"] == [
        {"ExpirationInDays": PLAN_FOR.days, "Status": "Enabled"}
    ]


def test_the_key_rotates_and_serves_only_logs_events_and_alarms_of_this_account(
    bundle: Synthesised,
) -> None:
    key = the(bundle.resources("AWS::KMS::Key", "LastgoodState"))
    services = {
        one["Principal"]["Service"]: one["Condition"]
        for one in key["KeyPolicy"]["Statement"]
        if "Service" in one["Principal"]
    }

    assert key["EnableKeyRotation"] is True
    assert services == {
        "events.amazonaws.com": {"StringEquals": {"aws:SourceAccount": ACCOUNT}},
        "cloudwatch.amazonaws.com": {"StringEquals": {"aws:SourceAccount": ACCOUNT}},
        f"logs.{HOME}.amazonaws.com": {
            "ArnLike": {
                "kms:EncryptionContext:aws:logs:arn": [
                    f"arn:aws:logs:{HOME}:{ACCOUNT}:log-group:{group}"
                    for group in (
                        "/aws/lambda/lastgood-*",
                        "/aws/vendedlogs/states/lastgood-restore",
                    )
                ]
            }
        },
    }


# schedules and policies


def schedules_of(row: Row, bundle: Synthesised) -> list[dict[str, Any]]:
    function, _ = bundle.named("AWS::Lambda::Function", "FunctionName", row.physical_name)
    return [
        one
        for one in bundle.resources("AWS::Scheduler::Schedule").values()
        if one["Target"]["Arn"] == {"Fn::GetAtt": [function, "Arn"]}
    ]


every_scheduled_row = pytest.mark.parametrize(
    "row",
    [row for row in CATALOG if isinstance(row.trigger, Scheduled)],
    ids=lambda row: row.name,
)


def test_each_cron_of_each_policy_has_its_schedule(bundle: Synthesised) -> None:
    assert {
        (one["ScheduleExpression"], one["ScheduleExpressionTimezone"]): one["FlexibleTimeWindow"]
        for one in schedules_of(BY_NAME[PLANNER], bundle)
    } == {
        ("cron(0 3 * * ? *)", "Europe/Berlin"): {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15},
        ("cron(0 15 ? * MON-FRI *)", "UTC"): {"Mode": "OFF"},
    }


def test_a_schedule_sends_what_the_planner_reads(bundle: Synthesised) -> None:
    for schedule in schedules_of(BY_NAME[PLANNER], bundle):
        text = schedule["Target"]["Input"]

        sent = text.replace("<aws.scheduler.scheduled-time>", "2026-03-01T02:00:00Z")
        request = codec.structure(json.loads(sent), PlanRequest)

        assert request.policy == "web-daily"
        assert request.slot is not None


def test_a_sweep_is_started_each_quarter_of_an_hour_and_rebuilds_once_a_day(
    bundle: Synthesised,
) -> None:
    started = {
        one["Name"]: (
            one["ScheduleExpression"],
            one["ScheduleExpressionTimezone"],
            codec.structure(json.loads(one["Target"]["Input"]), SweepRequest),
        )
        for one in schedules_of(BY_NAME[SWEEPER], bundle)
    }

    assert started == {
        "lastgood-sweep": ("rate(15 minutes)", "UTC", SweepRequest()),
        "lastgood-sweep-daily": ("cron(10 4 * * ? *)", "UTC", SweepRequest(rebuild=True)),
    }


@every_scheduled_row
def test_a_schedule_tries_as_long_as_its_row_says_and_then_leaves_a_dead_letter(
    row: Row, bundle: Synthesised
) -> None:
    assert isinstance(row.trigger, Scheduled)
    dead_letters, _ = bundle.named(
        "AWS::SQS::Queue", "QueueName", f"{row.physical_name}-dead-letters"
    )
    for schedule in schedules_of(row, bundle):
        target = schedule["Target"]

        late = row.trigger.late.total_seconds()
        assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == late
        assert target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0] == dead_letters


@every_scheduled_row
def test_schedules_are_of_our_group_and_may_start_their_function_and_nothing_else(
    row: Row, bundle: Synthesised
) -> None:
    function, _ = bundle.named("AWS::Lambda::Function", "FunctionName", row.physical_name)
    group, _ = bundle.named("AWS::Scheduler::ScheduleGroup", "Name", "lastgood")
    schedules = schedules_of(row, bundle)
    (name,) = {one["Target"]["RoleArn"]["Fn::GetAtt"][0] for one in schedules}
    role = bundle.resources("AWS::IAM::Role")[name]

    (policy,) = role["Policies"]
    invoked = [
        one["Resource"]["Fn::GetAtt"][0]
        for one in policy["PolicyDocument"]["Statement"]
        if "lambda:InvokeFunction" in one["Action"]
    ]
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]

    assert all(one["GroupName"] == {"Ref": group} for one in schedules)
    assert invoked == [function]
    assert trust["Condition"]["StringEquals"] == {
        "aws:SourceAccount": ACCOUNT,
        "aws:SourceArn": f"arn:aws:scheduler:{HOME}:{ACCOUNT}:schedule-group/lastgood",
    }


def test_each_policy_is_a_parameter_that_reads_back_the_same(
    bundle: Synthesised, two_regions: Path
) -> None:
    policies = load_policies(two_regions, home_region=HOME)
    parameters = {
        one["Name"]: one
        for one in bundle.resources("AWS::SSM::Parameter").values()
        if one["Name"] != "/lastgood/chat"
    }

    read = {
        name: codec.structure(json.loads(one["Value"]), Policy) for name, one in parameters.items()
    }

    assert read == {f"/lastgood/policies/{name}": one for name, one in policies.items()}
    # SSM takes no advanced parameter back to standard: it is to choose by itself.
    assert {one["Tier"] for one in parameters.values()} == {"Intelligent-Tiering"}


# Regions


def test_each_further_region_forwards_all_kinds_of_ebs_events_home(bundle: Synthesised) -> None:
    rule = the(bundle.resources("AWS::Events::Rule", "Lastgood-eu-north-1"))
    (role,) = (
        one
        for name, one in bundle.resources("AWS::IAM::Role", "Lastgood-eu-north-1").items()
        if name.startswith("Forwarder")
    )
    home = f"arn:aws:events:{HOME}:{ACCOUNT}:event-bus/default"

    (target,) = rule["Targets"]
    ((statement,),) = [one["PolicyDocument"]["Statement"] for one in role["Policies"]]

    assert rule["EventPattern"]["detail-type"] == [
        "EBS Snapshot Notification",
        "EBS Multi-Volume Snapshots Completion Status",
        "EBS Copy Snapshot Missed Completion Duration",
    ]
    assert target["Arn"] == home
    assert (statement["Action"], statement["Resource"]) == ("events:PutEvents", home)


def test_copies_go_where_there_is_a_key_and_sources_are_where_there_is_none(
    three_regions: Synthesised,
) -> None:
    aliases = {
        region: [
            one["AliasName"]
            for one in three_regions.resources("AWS::KMS::Alias", f"Lastgood-{region}").values()
        ]
        for region in (AWAY, THIRD)
    }

    assert aliases == {AWAY: ["alias/lastgood"], THIRD: []}
    assert three_regions.resources("AWS::KMS::Key", f"Lastgood-{THIRD}") == {}
    assert replicas(three_regions).keys() == {HOME, AWAY}


def test_the_key_of_a_destination_rotates_stays_and_lets_in_logs_and_alarms_of_restores(
    three_regions: Synthesised,
) -> None:
    (key,) = (
        one
        for one in three_regions.template(f"Lastgood-{AWAY}")["Resources"].values()
        if one["Type"] == "AWS::KMS::Key"
    )

    assert key["Properties"]["EnableKeyRotation"] is True
    assert key["DeletionPolicy"] == "RetainExceptOnCreate"
    assert key["UpdateReplacePolicy"] == "Retain"
    assert [one["Principal"] for one in key["Properties"]["KeyPolicy"]["Statement"]] == [
        {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        {"Service": "cloudwatch.amazonaws.com"},
        {"Service": f"logs.{AWAY}.amazonaws.com"},
    ]


def test_a_region_forwards_by_the_same_resources_with_a_key_or_without(
    three_regions: Synthesised,
) -> None:
    """The rule has a name: one under another logical id could not be made while it is there."""
    rules, roles = (
        [
            {
                name
                for name in three_regions.resources(type_, f"Lastgood-{one}")
                if "Forwarder" in name
            }
            for one in (AWAY, THIRD)
        ]
        for type_ in ("AWS::Events::Rule", "AWS::IAM::Role")
    )

    assert rules[0] == rules[1]
    assert len(rules[0]) == 1
    assert roles[0] == roles[1]


def test_the_ledger_is_deployed_once_the_keys_of_its_replicas_are_there(
    three_regions: Synthesised,
) -> None:
    artifacts = json.loads((three_regions.folder / "manifest.json").read_text())["artifacts"]

    def after(stack: str) -> set[str]:
        wanted = artifacts[stack]["dependencies"]
        return {one for one in wanted if artifacts[one]["type"] == "aws:cloudformation:stack"}

    assert after("LastgoodState") == {f"Lastgood-{AWAY}"}
    assert "LastgoodState" in after("Lastgood")
    assert after(f"Lastgood-{AWAY}") == after(f"Lastgood-{THIRD}") == set()


def test_home_has_no_forwarder(bundle: Synthesised) -> None:
    assert {path.name.removesuffix(".template.json") for path in bundle.templates} == {
        "Lastgood",
        "LastgoodState",
        "Lastgood-eu-north-1",
        "Lastgood-210987654321-eu-north-1",
    }


def test_what_people_type_is_among_the_outputs(bundle: Synthesised) -> None:
    outputs = {
        **bundle.template("LastgoodState")["Outputs"],
        **bundle.template("Lastgood")["Outputs"],
    }

    assert {
        "PlanSnapshotsFunction",
        "PlanSnapshotsDeadLetters",
        "LedgerTable",
        "TakeQueue",
        "AnnouncementBus",
        "ScheduleGroup",
        "RestoreMachine",
        "CloneInstanceFunction",
        "ChatUrl",
        "NoticesTopic",
    } <= outputs.keys()


def test_the_policies_that_come_with_it_fit_any_region(tmp_path: Path) -> None:
    app = synthesise(tmp_path, region=None)

    function = next(iter(app.resources("AWS::Lambda::Function").values()))

    assert len(app.templates) == 2
    assert function["Environment"]["Variables"]["LASTGOOD_REGION"] == {"Ref": "AWS::Region"}


def test_without_policies_there_is_all_but_their_schedules(tmp_path: Path) -> None:
    nothing = tmp_path / "policies.yaml"
    nothing.write_text("policies: {}\n")

    app = synthesise(tmp_path / "out", nothing)

    regions = [
        statement["Condition"]["StringEquals"]["aws:RequestedRegion"]
        for row in deployed_rows(chat=False)
        for statement in app.granted(row)
        if "ec2:" in json.dumps(statement["Action"])
    ]
    assert set(map(str, regions)) == {f"['{HOME}']"}
    assert schedules_of(BY_NAME[PLANNER], app) == []
    assert len(schedules_of(BY_NAME[SWEEPER], app)) == 2


# the command line


def run_app(
    tmp_path: Path, policies: Path, chat: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CDK_")}
    context = {"lastgood:policies": str(policies)}
    if chat is not None:
        context["lastgood:chat"] = str(chat)
    return subprocess.run(
        [sys.executable, str(ROOT / "app.py")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={
            **kept,
            **variables,
            "CDK_OUTDIR": str(tmp_path / "out"),
            "CDK_CONTEXT_JSON": json.dumps(context),
            "CDK_VALIDATION": "false",
        },
    )


def test_a_mistake_in_the_policies_ends_synth_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "policies.yaml"
    path.write_text("policies: {web: {select: {resource: instance}, retention: {keep_daily: x}}}")

    done = run_app(tmp_path, path)

    assert done.returncode == 1
    assert "policies.yaml: policies.web.retention.keep_daily" in done.stderr
    assert "Traceback" not in done.stderr


def test_policies_that_are_not_there_end_synth_with_their_path(tmp_path: Path) -> None:
    done = run_app(tmp_path, tmp_path / "nowhere.yaml")

    assert done.returncode == 1
    assert "nowhere.yaml: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_policies_of_several_regions_have_to_be_told_which_is_home(
    tmp_path: Path, two_regions: Path
) -> None:
    unknown = run_app(tmp_path, two_regions)
    home = {"CDK_DEFAULT_REGION": "eu-north-1", "CDK_DEFAULT_ACCOUNT": ACCOUNT}
    known = run_app(tmp_path, two_regions, **home)

    assert unknown.returncode == 1
    assert "set AWS_REGION, or give cdk the option -c lastgood:region=" in unknown.stderr
    assert known.returncode == 0
    assert (tmp_path / "out/Lastgood-eu-west-1.template.json").exists()


def test_policies_that_copy_have_to_be_told_which_region_is_home(tmp_path: Path) -> None:
    path = tmp_path / "policies.yaml"
    path.write_text(
        "policies: {web: {select: {resource: volume, tags: {backup: [x]}}, "
        "retention: {keep_last: 1}, copies: [{region: eu-north-1}]}}"
    )

    done = run_app(tmp_path, path)

    assert done.returncode == 1
    assert "policies that name Regions (web)" in done.stderr


def test_policies_that_copy_to_other_accounts_have_to_be_told_which_is_home(
    tmp_path: Path, two_regions: Path
) -> None:
    done = run_app(tmp_path, two_regions, CDK_DEFAULT_REGION=HOME)

    assert done.returncode == 1
    assert "policies that look in other accounts or copy to them (210987654321)" in done.stderr
    assert "CDK_DEFAULT_ACCOUNT" in done.stderr


@pytest.mark.parametrize("default", ["us-east-1", None])
def test_the_region_of_the_context_goes_before_that_of_the_cli(
    tmp_path: Path, two_regions: Path, default: str | None
) -> None:
    app = synthesise(
        tmp_path, two_regions, region=default, context={"lastgood:region": "eu-north-1"}
    )

    assert (app.folder / "Lastgood-eu-west-1.template.json").exists()
    assert not (app.folder / "Lastgood-us-east-1.template.json").exists()


def test_mistakes_in_who_may_chat_end_synth_with_their_places(tmp_path: Path) -> None:
    policies, chat = tmp_path / "policies.yaml", tmp_path / "chat.yaml"
    policies.write_text("policies: {}\n")
    chat.write_text("slack: {team: T0123456789}\nallow: []\n")

    done = run_app(tmp_path, policies, chat)

    assert done.returncode == 1
    assert "chat.yaml: allow: is an empty list" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_chat_file_that_is_not_there_ends_synth_with_its_path(tmp_path: Path) -> None:
    policies = tmp_path / "policies.yaml"
    policies.write_text("policies: {}\n")

    done = run_app(tmp_path, policies, tmp_path / "nowhere.yaml")

    assert done.returncode == 1
    assert "nowhere.yaml: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr
