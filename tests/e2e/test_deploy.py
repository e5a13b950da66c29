"""The real CDK CLI puts the bundle into an account, changes it, and takes it out again."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.constructs.key import ALIAS
from tests.cloud.driver import ACCOUNT, CdkFailed
from tests.e2e.conftest import (
    AWAY,
    HOME,
    POLICIES,
    SLOT,
    STACKS,
    Installation,
    an_installation,
    copy_of,
    template,
)
from tests.support import table
from tests.support.fleet import launch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deployed(assembly: Path) -> Iterator[Installation]:
    """As the app says; a test that changes it puts it back."""
    with an_installation(assembly) as installation:
        yield installation
        assert installation.cloud.errors() == ""


class Watch:
    """The events of all stacks from now on."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._before = {stack: len(self._events(stack)) for stack in STACKS}

    def _events(self, stack: str) -> list[dict[str, Any]]:
        """Oldest first."""
        region, account = STACKS[stack]
        client = self._installation.client("cloudformation", region, account=account)
        found: list[dict[str, Any]] = client.describe_stack_events(StackName=stack)["StackEvents"]
        return found[::-1]

    def changes(self) -> Counter[str]:
        """How many resources of each type were made, changed and removed, as ``VERB type``."""
        return Counter(
            f"{event['ResourceStatus'].split('_')[0]} {event['ResourceType']}"
            for stack, seen in self._before.items()
            for event in self._events(stack)[seen:]
            if event["ResourceStatus"].endswith("_COMPLETE")
            and event["ResourceType"] != "AWS::CloudFormation::Stack"
        )


def codes(installation: Installation) -> dict[str, str]:
    """The hash of each function's code, by its name."""
    found = installation.client("lambda").list_functions()["Functions"]
    return {one["FunctionName"]: one["CodeSha256"] for one in found}


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_has_all_resources_of_its_template(deployed: Installation, assembly: Path, stack):
    wanted = Counter(one["Type"] for one in template(assembly, stack)["Resources"].values())

    region, account = STACKS[stack]
    made = deployed.cloud.stack_resources(stack, region, account=account)

    # CDK adds a resource for its own statistics only if versionReporting is on.
    assert made == wanted
    assert sum(made.values()) > 0


def test_the_stacks_say_where_people_find_things(deployed: Installation):
    described = deployed.client("cloudformation").describe_stacks(StackName="Lastgood")

    outputs = {one["OutputKey"]: one["OutputValue"] for one in described["Stacks"][0]["Outputs"]}

    assert outputs["PlanSnapshotsFunction"] == "lastgood-plan-snapshots"
    assert outputs["AnnouncementBus"] == "lastgood"
    for name, value in outputs.items():
        if name.endswith("DeadLetters") or name == "TakeQueue":
            deployed.client("sqs").get_queue_attributes(QueueUrl=value)


def test_what_the_ledger_gets_at_home_is_where_the_copies_are(deployed: Installation):
    """Under the key of that Region, and before anything is lost at home."""
    home, there = (deployed.client("dynamodb", region) for region in (HOME, AWAY))
    key = {"pk": {"S": "TEST"}, "sk": {"S": "TEST"}}
    home.put_item(TableName=table.NAME, Item=key)

    found = there.get_item(TableName=table.NAME, Key=key)
    described = there.describe_table(TableName=table.NAME)["Table"]

    assert found["Item"] == key
    assert described["DeletionProtectionEnabled"] is True
    assert described["SSEDescription"]["KMSMasterKeyArn"].endswith(f":{AWAY}:{ACCOUNT}:{ALIAS}")
    home.delete_item(TableName=table.NAME, Key=key)


def test_a_second_deployment_says_that_nothing_changed(
    deployed: Installation, app: Path, tmp_path: Path
):
    watch = Watch(deployed)

    said = deployed.deploy_source(app, tmp_path / "out")

    assert said.count("(no changes)") == len(STACKS)
    assert watch.changes() == Counter()


def test_a_new_cron_changes_schedule_and_parameter_and_no_function(
    deployed: Installation, app: Path, assembly: Path, tmp_path: Path
):
    changed = tmp_path / "policies.yaml"
    changed.write_text(POLICIES.read_text().replace("0 3 * * ? *", "0 4 * * ? *"))
    before, watch = codes(deployed), Watch(deployed)

    deployed.deploy_source(app, tmp_path / "out", changed)

    # A schedule is named for its cron, so a new cron is a new schedule.
    assert watch.changes() == {
        # At home, and where its points can be restored without home.
        "UPDATE AWS::SSM::Parameter": 2,
        "CREATE AWS::Scheduler::Schedule": 1,
        "DELETE AWS::Scheduler::Schedule": 1,
    }
    assert codes(deployed) == before
    schedules = deployed.client("scheduler").list_schedules(GroupName="lastgood")["Schedules"]
    starts = Counter(one["Target"]["Arn"].rsplit(":", 1)[-1] for one in schedules)
    assert starts == {
        "lastgood-plan-snapshots": 2,
        "lastgood-sweep": 2,
        "lastgood-prune-snapshots": 1,
    }
    deployed.deploy(assembly)


def test_an_edited_function_alone_is_deployed_anew_and_what_is_compiled_is_not_looked_at(
    deployed: Installation, app: Path, assembly: Path, tmp_path: Path
):
    edited = copy_of(app, tmp_path / "app")
    handler = edited / "functions/record_snapshot/handler.py"
    handler.write_text(f"{handler.read_text()}\n# edited\n")
    for folder in ("functions/create_snapshots", "functions/core/python/lastgood"):
        compiled = edited / folder / "__pycache__" / "handler.cpython-313.pyc"
        compiled.parent.mkdir()
        compiled.write_bytes(b"compiled")
    (edited / "functions/README.md").write_text("Of no function.")
    before, watch = codes(deployed), Watch(deployed)

    deployed.deploy_source(edited, tmp_path / "out")

    after = codes(deployed)
    assert watch.changes() == {"UPDATE AWS::Lambda::Function": 1}
    changed = [one for one in after if after[one] != before[one]]
    assert changed == ["lastgood-record-snapshot"]
    deployed.deploy(assembly)
    assert codes(deployed) == before


def test_mistakes_in_the_policies_end_with_their_lines_and_change_nothing(
    deployed: Installation, app: Path, tmp_path: Path
):
    broken = tmp_path / "policies.yaml"
    broken.write_text(
        POLICIES.read_text()
        .replace("Europe/Berlin", "Europe/Berln")
        .replace("keep_daily: 7 }\n    rpo", "keep_dialy: 7 }\n    rpo")
    )
    watch = Watch(deployed)

    with pytest.raises(CdkFailed) as failed:
        deployed.deploy_source(app, tmp_path / "out", broken)

    lines = [line for line in str(failed.value).splitlines() if line.startswith("policies.yaml: ")]
    assert len(lines) == 2
    assert any("policies.web-daily.schedules[0].timezone" in line for line in lines)
    assert any("policies.web-daily.retention" in line for line in lines)
    assert "Traceback" not in str(failed.value)
    assert watch.changes() == Counter()


def test_a_resource_type_that_does_not_exist_fails_the_deployment_and_rolls_it_back(
    deployed: Installation, assembly: Path, tmp_path: Path
):
    edited = tmp_path / "assembly"
    shutil.copytree(assembly, edited)
    wrong = template(assembly, "Lastgood")
    wrong = {**wrong, "Resources": {**wrong["Resources"], "Wrong": {"Type": "AWS::EC2::Snapshot"}}}
    (edited / "Lastgood.template.json").write_text(json.dumps(wrong))
    _forget_the_hash_of(edited, "Lastgood")
    before = deployed.cloud.stack_resources("Lastgood", HOME)

    with pytest.raises(CdkFailed, match=r"AWS::EC2::Snapshot"):
        deployed.deploy(edited)

    stack = deployed.client("cloudformation").describe_stacks(StackName="Lastgood")["Stacks"][0]
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert deployed.cloud.stack_resources("Lastgood", HOME) == before


def _forget_the_hash_of(assembly: Path, stack: str) -> None:
    """An edited template is another asset than the one that was published before."""
    manifest = assembly / f"{stack}.assets.json"
    text = manifest.read_text()
    for name, asset in json.loads(text)["files"].items():
        if asset["source"]["path"] == f"{stack}.template.json":
            other = name[::-1]
            manifest.write_text(text.replace(name, other))
            main = assembly / "manifest.json"
            main.write_text(main.read_text().replace(name, other))


def test_destroying_leaves_the_ledger_its_key_and_the_snapshots_and_nothing_else(
    deployed: Installation, assembly: Path
):
    """The last one here, since little is left after it."""
    launch(deployed.client("ec2"), "web")
    deployed.plan(slot=SLOT.isoformat())
    deployed.cloud.settle()

    deployed.destroy(assembly)

    assert what_is_left(deployed) == {"snapshots": 1, "tables": 2, "keys": 2}
    # The ledger has a fixed name, which a new stack cannot make again: it says so and goes back.
    with pytest.raises(CdkFailed, match="lastgood-ledger"):
        deployed.deploy(assembly)
    assert len(deployed.points()) == 1
    assert what_is_left(deployed)["tables"] == 2


def what_is_left(installation: Installation) -> dict[str, int]:
    """How many of each kind bear our name, or are of a kind that nobody else has here."""
    client = installation.client
    regions = sorted({region for region, _ in STACKS.values()})
    tables = [
        table
        for region in regions
        for table in client("dynamodb", region).list_tables()["TableNames"]
    ]
    keys = [
        kms.describe_key(KeyId=one["KeyId"])["KeyMetadata"]
        for kms in (client("kms", region) for region in regions)
        for one in kms.list_keys()["Keys"]
    ]
    aliases = [
        alias["AliasName"]
        for region in regions
        for alias in client("kms", region).list_aliases()["Aliases"]
    ]
    parameters = client("ssm").get_parameters_by_path(Path="/lastgood", Recursive=True)
    buses = client("events").list_event_buses()["EventBuses"]
    groups = client("scheduler").list_schedule_groups()["ScheduleGroups"]
    logs = client("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/lastgood")
    roles = [one["RoleName"] for one in client("iam").list_roles()["Roles"]]
    rules = [rule for region in regions for rule in client("events", region).list_rules()["Rules"]]
    left = {
        "snapshots": len(installation.snapshots()),
        "tables": len(tables),
        "keys": len([one for one in keys if one["Description"].startswith("Lastgood")]),
        "aliases": len([one for one in aliases if "lastgood" in one]),
        "functions": len(client("lambda").list_functions()["Functions"]),
        "layers": len(client("lambda").list_layers()["Layers"]),
        "mappings": len(client("lambda").list_event_source_mappings()["EventSourceMappings"]),
        "queues": len(client("sqs").list_queues().get("QueueUrls", [])),
        "parameters": len(parameters["Parameters"]),
        "buses": len([one for one in buses if one["Name"] != "default"]),
        "rules": len(rules),
        "schedule groups": len([one for one in groups if one["Name"] != "default"]),
        "log groups": len(logs["logGroups"]),
        "topics": len(client("sns").list_topics()["Topics"]),
        "alarms": len(client("cloudwatch").describe_alarms()["MetricAlarms"]),
        "dashboards": len(client("cloudwatch").list_dashboards()["DashboardEntries"]),
        "roles": len([one for one in roles if one.startswith("Lastgood")]),
    }
    return {kind: count for kind, count in left.items() if count}
