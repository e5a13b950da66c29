"""What may be done, by whom, on what."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from infra import grants
from infra.catalog import CATALOG, RESTORING, Row
from infra.grants import Grant, Places
from tests.infra.conftest import ACCOUNT, AWAY, HOME, VAULT, Synthesised, synthesise

READS = ("BatchGet", "Describe", "Get", "List", "Query")
"""Verbs of actions that change nothing. All others do."""
GRANTS = {name: one for name, one in vars(grants).items() if isinstance(one, Grant)}
ROW = {row.name: row for row in CATALOG}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(bundle: Synthesised) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of every role of every stack."""
    for path in bundle.templates:
        stack = path.name.removesuffix(".template.json")
        for name, role in bundle.resources("AWS::IAM::Role", stack).items():
            for statement in bundle.rights(role, stack):
                yield f"{stack}/{name}", statement


def actions(row: Row, bundle: Synthesised) -> set[str]:
    return {one for statement in bundle.granted(row) for one in listed(statement["Action"])}


def changes(action: str) -> bool:
    return not action.partition(":")[2].startswith(READS)


def specific(resource: Any) -> bool:
    """It names one thing, or those within one of ours."""
    return not isinstance(resource, str) or "*" not in resource or "lastgood-" in resource


def bound_to_tags(statement: dict[str, Any]) -> bool:
    keys = {key for pairs in statement.get("Condition", {}).values() for key in pairs}
    return any(
        key.startswith(("aws:RequestTag/", "aws:ResourceTag/"))
        or key in ("aws:TagKeys", "ec2:CreateAction")
        for key in keys
    )


# EC2 asks for every resource of a call. So what these are taken of may be anything that a policy
# selects at run time, for without its point's tag the snapshot itself is refused, and the call.
READ_BY_A_SNAPSHOT = {
    ("ec2:CreateSnapshot", f"arn:aws:ec2:*:{ACCOUNT}:volume/*"),
    ("ec2:CreateSnapshots", f"arn:aws:ec2:*:{ACCOUNT}:instance/*"),
    ("ec2:CreateSnapshots", f"arn:aws:ec2:*:{ACCOUNT}:volume/*"),
}

# By way of EC2 alone, for who copies: under which keys volumes and copies are, their owners know.
USES = ("CreateGrant", "Decrypt", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo")
USED_BY_A_COPY = {
    (f"kms:{action}", f"arn:aws:kms:{region}:{account}:key/*")
    for region, account, actions in (
        # By restores, all of them in each Region.
        (HOME, ACCOUNT, USES),
        (AWAY, ACCOUNT, USES),
        (AWAY, VAULT, ("CreateGrant", "GenerateDataKeyWithoutPlaintext", "ReEncryptTo")),
    )
    for action in actions
}

# The tags of a snapshot of another account are not seen there; but only what is shared can be read.
READ_BY_A_VAULT = {("ec2:CopySnapshot", f"arn:aws:ec2:{HOME}::snapshot/*")}

# A clone is launched with what its original had, or what a person asks for; but itself, it has to
# bear the tag of its restore.
USED_BY_A_LAUNCH = {
    *(
        ("ec2:RunInstances", f"arn:aws:ec2:*:{ACCOUNT}:{kind}/*")
        for kind in ("key-pair", "placement-group", "security-group", "subnet")
    ),
    *(("ec2:RunInstances", f"arn:aws:ec2:*::{kind}/*") for kind in ("image", "snapshot")),
    ("ec2:RunInstances", f"arn:aws:resource-groups:*:{ACCOUNT}:group/*"),
    ("ec2:RunInstances", f"arn:aws:license-manager:*:{ACCOUNT}:license-configuration:*"),
    ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/*"),
}

# These need the instance as well, which has to have the tags of a policy or of a restore.
MOVED_WITH_AN_INSTANCE = {
    *(
        (f"ec2:{action}", f"arn:aws:ec2:*:{ACCOUNT}:volume/*")
        for action in ("AttachVolume", "CreateReplaceRootVolumeTask", "DetachVolume")
    ),
    ("ec2:CreateReplaceRootVolumeTask", "arn:aws:ec2:*::snapshot/*"),
    ("ssm:SendCommand", f"arn:aws:ssm:*:{ACCOUNT}:document/*"),
    ("ssm:SendCommand", "arn:aws:ssm:*::document/*"),
}

ON_EVERYTHING = {
    *(f"states:SendTask{how}" for how in ("Failure", "Success")),
    *(f"logs:{how}LogDelivery" for how in ("Create", "Delete", "Update")),
    "logs:PutResourcePolicy",
}
"""AWS knows no resources of these."""


def test_nothing_that_changes_anything_is_granted_on_everything_where_there_are_resources(
    bundle: Synthesised,
) -> None:
    wide = {
        action
        for _, statement in statements(bundle)
        for action in listed(statement["Action"])
        if "*" in listed(statement["Resource"]) and changes(action)
    }

    assert wide == ON_EVERYTHING


def test_what_changes_anything_is_bound_to_a_resource_of_ours_or_to_our_tags(
    bundle: Synthesised,
) -> None:
    unbound = {
        (action, resource)
        for _, statement in statements(bundle)
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
        if changes(action) and not specific(resource) and not bound_to_tags(statement)
    }

    assert unbound == (
        READ_BY_A_SNAPSHOT
        | USED_BY_A_COPY
        | READ_BY_A_VAULT
        | USED_BY_A_LAUNCH
        | MOVED_WITH_AN_INSTANCE
        | {(action, "*") for action in ON_EVERYTHING}
    )


def test_every_action_is_spelled_in_full(bundle: Synthesised) -> None:
    found = {one for _, statement in statements(bundle) for one in listed(statement["Action"])}

    assert not [action for action in found if "*" in action]
    assert all(statement["Effect"] == "Allow" for _, statement in statements(bundle))


def test_roles_come_to_no_other_services_than_these(bundle: Synthesised) -> None:
    found = {one for _, statement in statements(bundle) for one in listed(statement["Action"])}

    assert {one.partition(":")[0] for one in found} == {
        *("dynamodb", "ec2", "events", "kms", "lambda", "logs", "s3", "sns", "sqs", "ssm"),
        *("servicequotas", "sts"),
        # For restores, and for chat.
        *("iam", "scheduler", "secretsmanager", "states"),
    }


def test_roles_have_no_policies_but_their_own(bundle: Synthesised) -> None:
    for path in bundle.templates:
        stack = path.name.removesuffix(".template.json")
        attached = [
            one["Ref"]
            for role in bundle.resources("AWS::IAM::Role", stack).values()
            for one in role.get("ManagedPolicyArns", [])
        ]
        assert sorted(attached) == sorted(bundle.resources("AWS::IAM::ManagedPolicy", stack))
        assert bundle.resources("AWS::IAM::Policy", stack) == {}


def characters(document: dict[str, Any]) -> int:
    """As IAM counts them, with a long ARN for each reference."""
    text = json.dumps(document, separators=(",", ":"))
    text = re.sub(r'\{"(?:Fn::GetAtt|Fn::ImportValue|Ref)":[^{}]*\}', f'"{"x" * 90}"', text)
    return len("".join(text.split()))


def test_a_role_has_no_longer_policies_than_iam_takes(bundle: Synthesised) -> None:
    """Of all inline policies together, and of a managed one ("IAM and AWS STS quotas")."""
    for path in bundle.templates:
        stack = path.name.removesuffix(".template.json")
        for role in bundle.resources("AWS::IAM::Role", stack).values():
            assert sum(characters(one["PolicyDocument"]) for one in role["Policies"]) <= 10_240
        for one in bundle.resources("AWS::IAM::ManagedPolicy", stack).values():
            assert characters(one["PolicyDocument"]) <= 6_144


def test_rights_that_are_too_many_for_one_policy_are_in_several(bundle: Synthesised) -> None:
    role = bundle.resources("AWS::IAM::Role")[
        bundle.function(ROW["restore_instance"])["Role"]["Fn::GetAtt"][0]
    ]
    sids = [one["Sid"] for one in bundle.granted(ROW["restore_instance"])]

    assert len(role["ManagedPolicyArns"]) >= 1
    assert len(set(sids)) == len(sids)
    assert {"ChangeSources1or1", "LaunchClones1", "WriteLogs1"} <= set(sids)


def test_ec2_is_called_in_the_policies_regions_only(bundle: Synthesised) -> None:
    conditions = [
        statement["Condition"]["StringEquals"]["aws:RequestedRegion"]
        for _, statement in statements(bundle)
        if any(action.startswith("ec2:") for action in listed(statement["Action"]))
    ]

    assert conditions
    # Sources are in both, copies in the one, and in the other what is copied to another account.
    assert {tuple(listed(one)) for one in conditions} == {(AWAY, HOME), (AWAY,), (HOME,)}


def test_a_snapshot_cannot_be_made_without_the_tag_of_its_point(bundle: Synthesised) -> None:
    on_snapshots = [
        statement
        for statement in bundle.granted(ROW["create_snapshots"])
        if "arn:aws:ec2:*::snapshot/*" in listed(statement["Resource"])
    ]

    conditions = {
        action: one["Condition"] for one in on_snapshots for action in listed(one["Action"])
    }

    needs_tag = {"Null": {"aws:RequestTag/lastgood:point": "false"}}
    assert needs_tag.items() <= conditions["ec2:CreateSnapshot"].items()
    assert needs_tag.items() <= conditions["ec2:CreateSnapshots"].items()


def test_tags_are_put_on_snapshots_only_as_they_are_made_but_for_that_of_a_hold(
    bundle: Synthesised,
) -> None:
    tagging = {
        row.name: one
        for row in CATALOG
        if row.name not in RESTORING
        for one in bundle.granted(row)
        if {"ec2:CreateTags", "ec2:DeleteTags"} & set(listed(one["Action"]))
    }

    copying = tagging.pop("copy_snapshots")
    assert copying["Resource"] == f"arn:aws:ec2:{AWAY}::snapshot/*"
    assert copying["Condition"]["StringEquals"]["ec2:CreateAction"] == ["CopySnapshot"]
    assert {one["Resource"] for one in tagging.values()} == {"arn:aws:ec2:*::snapshot/*"}
    making = tagging.pop("create_snapshots")["Condition"]["StringEquals"]
    holding = tagging.pop("prune_snapshots")["Condition"]
    assert not tagging
    assert making["ec2:CreateAction"] == ["CreateSnapshot", "CreateSnapshots"]
    assert holding["ForAllValues:StringEquals"] == {"aws:TagKeys": ["lastgood:hold"]}
    assert holding["Null"] == {
        "aws:ResourceTag/lastgood:point": "false",
        "aws:TagKeys": "false",
    }


IN_PLACE = {
    *("ec2:AttachVolume", "ec2:DetachVolume", "ec2:ModifyInstanceAttribute"),
    *("ec2:StartInstances", "ec2:StopInstances"),
}


def ec2_changes(row: Row, bundle: Synthesised) -> set[str]:
    return {one for one in actions(row, bundle) if one.startswith("ec2:") and changes(one)}


def test_the_function_that_creates_cannot_delete_and_the_one_that_deletes_cannot_create(
    bundle: Synthesised,
) -> None:
    changing = {row.name: found for row in CATALOG if (found := ec2_changes(row, bundle))}

    assert changing == {
        "create_snapshots": {"ec2:CreateSnapshot", "ec2:CreateSnapshots", "ec2:CreateTags"},
        "copy_snapshots": {
            *("ec2:CopySnapshot", "ec2:CreateTags", "ec2:DeleteSnapshot"),
            "ec2:ModifySnapshotAttribute",
        },
        "sweep": {"ec2:DeleteSnapshot"},
        "prune_snapshots": {"ec2:CreateTags", "ec2:DeleteTags"},
        "delete_snapshots": {"ec2:DeleteSnapshot"},
        "clone_instance": {"ec2:CreateTags", "ec2:DeleteTags", "ec2:RunInstances"},
        "restore_instance": {
            *IN_PLACE,
            *("ec2:CopySnapshot", "ec2:CreateVolume", "ec2:RegisterImage", "ec2:RunInstances"),
            *("ec2:CreateReplaceRootVolumeTask", "ec2:CreateTags"),
            "ec2:ModifyNetworkInterfaceAttribute",
            *("ec2:DeleteSnapshot", "ec2:DeleteVolume", "ec2:DeregisterImage"),
        },
        "undo_restore": {
            *IN_PLACE,
            *("ec2:CreateTags", "ec2:DeleteTags", "ec2:TerminateInstances"),
            *("ec2:DeleteSnapshot", "ec2:DeleteVolume", "ec2:DeregisterImage"),
        },
    }
    assert not [
        one
        for one in actions(ROW["create_snapshots"], bundle) - {"sqs:DeleteMessage"}
        if one.partition(":")[2].startswith(("Delete", "Modify"))
    ]


def test_only_snapshots_of_points_are_copied_and_only_copies_are_deleted_by_who_copies(
    bundle: Synthesised,
) -> None:
    of = {
        (action, tuple(sorted(one["Condition"]["Null"])))
        for one in bundle.granted(ROW["copy_snapshots"])
        for action in listed(one["Action"])
        if action in ("ec2:CopySnapshot", "ec2:DeleteSnapshot")
    }

    assert of == {
        ("ec2:CopySnapshot", ("aws:ResourceTag/lastgood:point",)),
        ("ec2:CopySnapshot", ("aws:RequestTag/lastgood:copy", "aws:RequestTag/lastgood:point")),
        (
            "ec2:DeleteSnapshot",
            (
                "aws:ResourceTag/lastgood:copy",
                "aws:ResourceTag/lastgood:hold",
                "aws:ResourceTag/lastgood:point",
            ),
        ),
    }


REQUIRED = f"""
policies:
  required:
    select: {{resource: volume, tags: {{backup: [volume]}}, regions: [{HOME}, {AWAY}]}}
    retention: {{keep_last: 3}}
    encryption: required
  copied:
    select: {{resource: volume, tags: {{backup: [copied]}}, regions: [{HOME}]}}
    retention: {{keep_last: 3}}
    copies: [{{region: eu-central-1}}]
"""


@pytest.fixture(scope="module")
def required(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """Points in two Regions have to be encrypted, those of another policy are copied to a third."""
    folder = tmp_path_factory.mktemp("required")
    (folder / "policies.yaml").write_text(REQUIRED)
    return synthesise(folder / "out", folder / "policies.yaml")


def test_originals_are_deleted_by_who_copies_only_where_they_have_to_be_encrypted(
    bundle: Synthesised, required: Synthesised
) -> None:
    originals = [
        one
        for one in required.granted(ROW["copy_snapshots"])
        if one.get("Condition", {}).get("Null", {}).get("aws:ResourceTag/lastgood:copy") == "true"
    ]

    (statement,) = originals
    assert statement["Action"] == "ec2:DeleteSnapshot"
    assert statement["Resource"] == [f"arn:aws:ec2:{one}::snapshot/*" for one in (AWAY, HOME)]
    assert statement["Condition"] == {
        "StringEquals": {"aws:RequestedRegion": [AWAY, HOME]},
        "Null": {
            "aws:ResourceTag/lastgood:point": "false",
            "aws:ResourceTag/lastgood:copy": "true",
            "aws:ResourceTag/lastgood:hold": "true",
        },
    }
    assert "ReplaceMembers" not in json.dumps(bundle.granted(ROW["copy_snapshots"]))


def test_where_points_have_to_be_encrypted_they_may_be_copied_and_exchanged(
    required: Synthesised,
) -> None:
    granted = required.granted(ROW["copy_snapshots"])
    copied_to = {
        tuple(listed(one["Condition"]["StringEquals"]["aws:RequestedRegion"]))
        for one in granted
        if "ec2:CopySnapshot" in listed(one["Action"])
    }
    replacing = {
        str(one["Action"]): one["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
        for one in granted
        if one["Sid"].startswith("ReplaceMembers") and "dynamodb" in one["Action"]
    }

    assert copied_to == {("eu-central-1", AWAY, HOME)}
    assert replacing == {
        "dynamodb:BatchGetItem": ["HOLD#*"],
        "dynamodb:ConditionCheckItem": ["POINT#*"],
        "dynamodb:UpdateItem": ["POINT#*"],
    }


def test_what_is_encrypted_in_place_makes_no_destination(required: Synthesised) -> None:
    """Which would have a key, and a replica of the ledger."""
    assert required.resources("AWS::KMS::Key", f"Lastgood-{AWAY}") == {}
    assert required.resources("AWS::KMS::Key", "Lastgood-eu-central-1") != {}


@pytest.mark.parametrize("name", ["sweep", "delete_snapshots"])
def test_a_snapshot_is_deleted_only_if_it_has_the_tag_of_a_point_and_none_of_a_hold(
    name: str, bundle: Synthesised
) -> None:
    (statement,) = (
        one for one in bundle.granted(ROW[name]) if "ec2:DeleteSnapshot" in listed(one["Action"])
    )

    assert statement["Action"] == "ec2:DeleteSnapshot"
    assert statement["Resource"] == "arn:aws:ec2:*::snapshot/*"
    assert statement["Condition"]["Null"] == {
        "aws:ResourceTag/lastgood:point": "false",
        "aws:ResourceTag/lastgood:hold": "true",
    }


def test_planners_alone_can_be_asked_for_and_by_their_names(bundle: Synthesised) -> None:
    invokers: dict[str, set[str]] = {}
    for row in CATALOG:
        for one in bundle.granted(row):
            if "lambda:InvokeFunction" in listed(one["Action"]):
                invokers.setdefault(row.name, set()).add(one["Resource"])

    planner, pruner, cloner = (
        f"arn:aws:lambda:{HOME}:{ACCOUNT}:function:lastgood-{one}"
        for one in ("plan-snapshots", "prune-snapshots", "clone-instance")
    )
    assert invokers == {
        "plan_snapshots": {planner},
        "sweep": {planner},
        "prune_snapshots": {pruner},
        "chat": {cloner, pruner},
    }


# the ledger

LEDGER = {
    "plan_snapshots": {
        "GetItem": {"RUN#*"},
        "PutItem": {"RUN#*"},
        "UpdateItem": {"RUN#*"},
        "Query listing": {"COPIESOF#*"},
    },
    "create_snapshots": {
        "GetItem": {"POINT#*", "LAUNCH#*", "NAME#*"},
        "PutItem": {"POINT#*", "RUN#*", "LAUNCH#*", "NAME#*"},
        "UpdateItem": {"POINT#*", "RUN#*", "SOURCES#*"},
    },
    "record_snapshot": {
        "GetItem": {"POINT#*"},
        "PutItem": {"POINT#*", "RUN#*"},
        "UpdateItem": {"POINT#*", "RUN#*", "SOURCES#*"},
        "Query by_snapshot": {"snap-*"},
    },
    "copy_snapshots": {
        "BatchGetItem": {"POINT#*"},
        "GetItem": {"POINT#*", "PLACE#*"},
        "PutItem": {"POINT#*"},
        "UpdateItem": {"PLACE#*"},
        "Query": {"POINT#*"},
        "Query in_flight": {"COPIES#*"},
    },
    "sweep": {
        "BatchGetItem": {"POINT#*", "RESTORE#*"},
        "DeleteItem": {"POINT#*"},
        "GetItem": {"POINT#*", "NOTICE#*", "NAME#*"},
        "PutItem": {"POINT#*", "RUN#*", "NOTICE#*", "NAME#*", "POLICIES"},
        "UpdateItem": {"POINT#*", "RUN#*", "SOURCES#*"},
        "Query": {"RUN#*", "SOURCES#*", "POLICIES"},
        "Query listing": {"RUNS#*", "POINTS#*", "COPIESOF#*"},
        "Query in_flight": {"FLIGHT#*", "DOUBT", "COPIES#*", "RESTORES"},
    },
    "prune_snapshots": {
        "BatchGetItem": {"HOLD#*"},
        "DeleteItem": {"HOLD#*"},
        "GetItem": {"POINT#*", "PLAN#*", "NOTICE#*"},
        "PutItem": {"HOLD#*", "PLAN#*", "NOTICE#*", "POLICIES"},
        "UpdateItem": {"POINT#*"},
        "Query": {"POINT#*", "SOURCES#*", "PLAN#*", "POLICIES"},
        "Query listing": {"POINTS#*", "COPIESOF#*"},
        "Query by_snapshot": {"snap-*"},
    },
    "delete_snapshots": {
        "ConditionCheckItem": {"HOLD#*", "POINT#*"},
        "GetItem": {"POINT#*", "PLAN#*"},
        "PutItem": {"POINT#*", "PLAN#*"},
        "UpdateItem": {"POINT#*"},
        "Query": {"POINT#*"},
        "Query listing": {"POINTS#*", "COPIESOF#*"},
    },
    "clone_instance": {
        "BatchGetItem": {"RESTORE#*"},
        "GetItem": {"POINT#*", "RESTORE#*", "RESTORING#*"},
        "PutItem": {"RESTORE#*", "RESTORING#*"},
        "Query": {"NAME#*"},
        "Query listing": {"POINTS#*", "COPIESOF#*", "RESTORESOF#*"},
    },
    "restore_instance": {
        "ConditionCheckItem": {"POINT#*"},
        "DeleteItem": {"RESTORING#*"},
        "GetItem": {"POINT#*", "RESTORE#*", "RESTORING#*"},
        "PutItem": {"RESTORE#*", "RUN#*"},
        "UpdateItem": {"POINT#*", "RUN#*"},
    },
    "check_restore": {"GetItem": {"RESTORE#*"}, "PutItem": {"RESTORE#*"}},
    "undo_restore": {
        "DeleteItem": {"RESTORING#*"},
        "GetItem": {"POINT#*", "RESTORE#*", "RESTORING#*"},
        "PutItem": {"RESTORE#*"},
        "UpdateItem": {"POINT#*"},
    },
    "chat": {
        "GetItem": {"CHAT#*"},
        "PutItem": {"CHAT#*", "REFUSED#*"},
        "UpdateItem": {"CHAT#*"},
    },
    "tell_chat": {"GetItem": {"CHAT#*"}, "UpdateItem": {"CHAT#*"}},
}
"""By action, and index if there is one: the partitions that each function comes to."""


@pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.name)
def test_a_function_comes_to_its_own_partitions_of_the_ledger(
    row: Row, bundle: Synthesised
) -> None:
    granted: dict[str, set[str]] = {}
    for statement in bundle.granted(row):
        for action in listed(statement["Action"]):
            if action.startswith("dynamodb:"):
                _, _, index = json.dumps(statement["Resource"]).partition("/index/")
                name = f"{action.partition(':')[2]} {index.rstrip(']}')}".replace('"', "").strip()
                granted.setdefault(name, set()).update(
                    statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
                )

    assert granted == LEDGER[row.name]


def test_no_call_comes_to_the_ledger_without_saying_to_which_partition(
    bundle: Synthesised,
) -> None:
    needed = [
        statement["Condition"]["Null"]
        for _, statement in statements(bundle)
        if any(action.startswith("dynamodb:") for action in listed(statement["Action"]))
    ]

    assert needed
    assert all(one == {"dynamodb:LeadingKeys": "false"} for one in needed)


def test_the_key_is_used_by_way_of_the_service_whose_data_it_is(bundle: Synthesised) -> None:
    through = {
        service
        for _, statement in statements(bundle)
        if any(action.startswith("kms:") for action in listed(statement["Action"]))
        # That a key is there may be seen; nothing is done with it.
        and listed(statement["Action"]) != ["kms:DescribeKey"]
        for service in listed(statement["Condition"]["StringEquals"]["kms:ViaService"])
    }

    assert through == {
        *(f"{one}.{HOME}.amazonaws.com" for one in ("dynamodb", "ec2", "s3", "sns", "sqs")),
        f"secretsmanager.{HOME}.amazonaws.com",
        *(f"{one}.{AWAY}.amazonaws.com" for one in ("dynamodb", "ec2", "sqs")),
    }


# policies of resources

OF_RESOURCES = {
    "AWS::KMS::Key": "KeyPolicy",
    "AWS::S3::BucketPolicy": "PolicyDocument",
    "AWS::SNS::TopicPolicy": "PolicyDocument",
    "AWS::SQS::QueuePolicy": "PolicyDocument",
}


def resource_statements(bundle: Synthesised) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of every key, topic and queue, by type."""
    for path in bundle.templates:
        stack = path.name.removesuffix(".template.json")
        for type_, key in OF_RESOURCES.items():
            for one in bundle.resources(type_, stack).values():
                for statement in one[key]["Statement"]:
                    yield type_, statement


def test_the_policies_of_keys_topics_and_queues_let_in_services_for_us_and_no_one_else(
    bundle: Synthesised,
) -> None:
    rules = f"arn:aws:events:{HOME}:{ACCOUNT}:rule/"
    copying = [
        f"{rules}lastgood-copy-snapshots",
        f"{rules}lastgood/lastgood-copy-snapshots-announced",
    ]
    account = {"StringEquals": {"aws:SourceAccount": ACCOUNT}}

    def alarms(region: str) -> dict[str, Any]:
        arn = f"arn:aws:cloudwatch:{region}:{ACCOUNT}:alarm:lastgood-*"
        return {**account, "ArnLike": {"aws:SourceArn": arn}}

    def logs(region: str) -> dict[str, Any]:
        groups = f"arn:aws:logs:{region}:{ACCOUNT}:log-group"
        arns = [
            f"{groups}:/aws/lambda/lastgood-*",
            f"{groups}:/aws/vendedlogs/states/lastgood-restore",
        ]
        return {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": arns}}

    allowed = [
        (type_.split("::")[1], statement["Principal"], statement.get("Condition"))
        for type_, statement in resource_statements(bundle)
        if statement["Effect"] == "Allow"
    ]

    def service(name: str) -> dict[str, str]:
        return {"Service": f"{name}.amazonaws.com"}

    by_rule, by_rules, by_news = (
        ("SQS", service("events"), {"ArnEquals": {"aws:SourceArn": one}})
        for one in (
            f"{rules}lastgood-record-snapshot",
            copying,
            f"{rules}lastgood/lastgood-tell-chat-announced",
        )
    )
    expected = [
        *2 * [("KMS", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, None)],
        ("KMS", {"AWS": f"arn:aws:iam::{VAULT}:root"}, None),
        ("KMS", service("events"), account),
        *2 * [("KMS", service("cloudwatch"), account)],
        *(("KMS", service(f"logs.{one}"), logs(one)) for one in (HOME, AWAY)),
        *(("SNS", service("cloudwatch"), alarms(one)) for one in (HOME, AWAY)),
        *2 * [by_rule],
        *2 * [by_rules],
        *2 * [by_news],
    ]
    assert sorted(allowed, key=str) == sorted(expected, key=str)


def test_only_the_account_itself_may_do_everything_with_a_key(bundle: Synthesised) -> None:
    """The account's own identity policies decide then; without it nobody could ever change the
    key ("Default key policy", KMS)."""
    wide = [
        statement["Principal"]
        for _, statement in resource_statements(bundle)
        if any("*" in action for action in listed(statement["Action"]))
        and statement["Effect"] == "Allow"
    ]

    assert sorted(one["AWS"] for one in wide) == [
        f"arn:aws:iam::{of}:root" for of in (ACCOUNT, ACCOUNT, VAULT)
    ]


def test_everybody_is_refused_without_tls(bundle: Synthesised) -> None:
    denied = [one for _, one in resource_statements(bundle) if one["Effect"] == "Deny"]

    assert all(one["Condition"] == {"Bool": {"aws:SecureTransport": "false"}} for one in denied)
    closed = ("AWS::S3::Bucket", "AWS::SNS::Topic", "AWS::SQS::Queue")
    stacks = [path.name.removesuffix(".template.json") for path in bundle.templates]
    assert len(denied) == sum(
        len(bundle.resources(type_, stack)) for type_ in closed for stack in stacks
    )


VAULT_STACK = f"Lastgood-{VAULT}-{AWAY}"


def test_a_role_is_there_for_one_service_or_for_our_functions_in_another_account(
    bundle: Synthesised,
) -> None:
    trusted = [
        statement
        for path in bundle.templates
        for role in bundle.resources(
            "AWS::IAM::Role", path.name.removesuffix(".template.json")
        ).values()
        for statement in role["AssumeRolePolicyDocument"]["Statement"]
    ]

    abroad = [one for one in trusted if "Service" not in one["Principal"]]
    assert {one["Principal"]["Service"] for one in trusted if one not in abroad} == {
        "events.amazonaws.com",
        "lambda.amazonaws.com",
        "scheduler.amazonaws.com",
        "states.amazonaws.com",
    }
    assert {one["Principal"]["AWS"] for one in abroad} == {f"arn:aws:iam::{ACCOUNT}:root"}
    assert [one["Condition"] for one in abroad] == [
        {
            "StringEquals": {"sts:ExternalId": f"lastgood-{ACCOUNT}"},
            "ArnEquals": {
                "aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/{ROW[one].physical_name}-{HOME}"
            },
        }
        for one in ENTERING
    ]


ENTERING = ("copy_snapshots", "sweep", "prune_snapshots", "delete_snapshots")
"""Those that have something to do where only copies are."""


def test_the_functions_that_another_account_lets_in_have_the_names_that_it_knows(
    bundle: Synthesised,
) -> None:
    named = {
        one["RoleName"] for one in bundle.resources("AWS::IAM::Role").values() if "RoleName" in one
    }
    entered = {
        row.name: one["Resource"]
        for row in CATALOG
        for one in bundle.granted(row)
        if "sts:AssumeRole" in listed(one["Action"])
    }

    assert named == {f"{row.physical_name}-{HOME}" for row in CATALOG if row.works_abroad}
    assert entered == {
        one: f"arn:aws:iam::{VAULT}:role/{ROW[one].physical_name}-abroad-{AWAY}" for one in ENTERING
    }


def test_in_another_account_only_copies_are_deleted_and_only_there(bundle: Synthesised) -> None:
    deleting = {
        role["RoleName"]: one["Condition"]
        for role in bundle.resources("AWS::IAM::Role", VAULT_STACK).values()
        for policy in role["Policies"]
        for one in policy["PolicyDocument"]["Statement"]
        if "ec2:DeleteSnapshot" in listed(one["Action"])
    }

    assert set(deleting) == {
        f"lastgood-{one}-snapshots-abroad-{AWAY}" for one in ("copy", "delete")
    }
    for condition in deleting.values():
        assert condition == {
            "StringEquals": {"aws:RequestedRegion": [AWAY], "aws:ResourceAccount": VAULT},
            "Null": {
                "aws:ResourceTag/lastgood:point": "false",
                "aws:ResourceTag/lastgood:copy": "false",
                "aws:ResourceTag/lastgood:hold": "true",
            },
        }


def test_a_snapshot_is_shared_with_the_accounts_of_copies_and_no_other(
    bundle: Synthesised,
) -> None:
    sharing = [
        one["Condition"]
        for row in CATALOG
        for one in bundle.granted(row)
        if "ec2:ModifySnapshotAttribute" in listed(one["Action"])
    ]

    assert [one["StringEquals"] for one in sharing] == [
        {
            "aws:RequestedRegion": [HOME],
            "aws:ResourceAccount": ACCOUNT,
            f"ec2:{how}/userId": [VAULT],
        }
        for how in ("Add", "Remove")
    ]
    assert {str(one["Null"]) for one in sharing} == {
        str({"aws:ResourceTag/lastgood:point": "false"})
    }


def test_the_bus_takes_events_of_ec2_from_the_accounts_of_copies(bundle: Synthesised) -> None:
    (policy,) = bundle.resources("AWS::Events::EventBusPolicy").values()

    assert policy["EventBusName"] == "default"
    # Else it could not be removed: its id is the policy's.
    assert "Sid" not in policy["Statement"]
    assert policy["Statement"]["Principal"] == {"AWS": f"arn:aws:iam::{VAULT}:root"}
    assert policy["Statement"]["Condition"] == {"StringEquals": {"events:source": "aws.ec2"}}


def test_functions_are_invoked_under_roles_and_chat_alone_by_everybody_through_its_url(
    bundle: Synthesised,
) -> None:
    chat, _ = bundle.named("AWS::Lambda::Function", "FunctionName", "lastgood-chat")
    allowed = [
        one
        for path in bundle.templates
        for one in bundle.resources(
            "AWS::Lambda::Permission", path.name.removesuffix(".template.json")
        ).values()
    ]

    everybody = {"FunctionName": {"Ref": chat}, "Principal": "*"}
    assert len(allowed) == 2
    assert {one["Action"]: one for one in allowed} == {
        "lambda:InvokeFunctionUrl": {
            **everybody,
            "Action": "lambda:InvokeFunctionUrl",
            "FunctionUrlAuthType": "NONE",
        },
        "lambda:InvokeFunction": {
            **everybody,
            "Action": "lambda:InvokeFunction",
            "InvokedViaFunctionUrl": True,
        },
    }


@pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.name)
def test_a_function_buries_and_logs_in_its_own_places_only(row: Row, bundle: Synthesised) -> None:
    buried = [f"{row.physical_name}-dead-letters"] if row.buries else []
    own = {bundle.named("AWS::SQS::Queue", "QueueName", name)[0] for name in buried}
    asked = {
        "restore_instance": ("lastgood-create-snapshots",),
        "plan_snapshots": ("lastgood-create-snapshots",),
        "sweep": ("lastgood-create-snapshots", "lastgood-copy-snapshots"),
        "prune_snapshots": ("lastgood-delete-snapshots",),
        "delete_snapshots": ("lastgood-delete-snapshots",),
    }

    sends = {
        statement["Resource"]["Fn::GetAtt"][0]
        for statement in bundle.granted(row)
        if "sqs:SendMessage" in listed(statement["Action"])
    }
    (logs,) = (
        statement["Resource"]
        for statement in bundle.granted(row)
        if "logs:PutLogEvents" in listed(statement["Action"])
    )

    others = {
        bundle.named("AWS::SQS::Queue", "QueueName", name)[0] for name in asked.get(row.name, ())
    }
    assert sends == own | others
    assert logs.endswith(f":log-group:/aws/lambda/{row.physical_name}:*")


@pytest.mark.parametrize("name", GRANTS)
def test_a_grant_says_why_and_why_its_patterns_are_patterns(name: str) -> None:
    grant = GRANTS[name]
    places = Places(
        partition="aws",
        account="123456789012",
        region=HOME,
        key="key",
        table="table",
        bus="bus",
        policies="/path",
        take_queue="take",
        planner="planner",
        prune_queue="prune",
        copy_queue="copy",
        regions=(HOME,),
        copied=(HOME,),
        destinations=("eu-north-1",),
        encrypting=(HOME,),
        pruner="pruner",
        plans="bucket",
        topic="topic",
        queue="queue",
        dead_letters="dead",
        log_group="log",
        function="function",
        rules=("rule",),
        selected=({"backup": ("daily",)},),
        machine="arn:aws:states:eu-west-1:123456789012:stateMachine:machine",
        steps=("step",),
        ending_role="role",
        ending_letters="letters",
        cloner="cloner",
        chat="chat",
        secret="secret",
    )

    assert grant.name == name
    assert grant.reason
    assert "\n" not in grant.reason
    assert all(grant.wide(places).values())
    json.dumps([one.to_statement_json() for one in grant.statements(places)])


def test_a_grant_on_what_is_not_there_is_refused() -> None:
    nowhere = Places(partition="aws", account="123456789012", region=HOME)

    with pytest.raises(ValueError, match="CONSUME_QUEUE is granted where there is nothing"):
        grants.CONSUME_QUEUE.statements(nowhere)
