"""Accounts that policies look in: what Lastgood may do there, and who of it."""

from pathlib import Path
from typing import Any

import pytest

from infra.catalog import CATALOG as EVERY
from infra.catalog import EBS_DETAIL_TYPES
from tests.infra.conftest import ACCOUNT, AWAY, HOME, VAULT, Synthesised, synthesise
from tests.infra.test_grants import READ_BY_A_SNAPSHOT, changes, listed
from tests.infra.test_nag import findings

CATALOG = [row for row in EVERY if row.works_abroad]
"""Those that have something to do in other accounts: restores are made at home."""
MEMBER = "333333333333"
POLICIES = f"""
policies:
  web:
    select:
      resource: instance
      tags: {{backup: [daily]}}
      accounts: ["{ACCOUNT}", "{MEMBER}", "{VAULT}"]
      regions: [{HOME}]
    retention: {{keep_daily: 7}}
    copies: [{{region: {AWAY}, account: "{VAULT}"}}]
"""
STACK = f"Lastgood-{MEMBER}-{HOME}"
ENTERED = f"abroad-{HOME}"


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    folder = tmp_path_factory.mktemp("members")
    path: Path = folder / "policies.yaml"
    path.write_text(POLICIES)
    context = {"@aws-cdk/core:failSynthOnValidationErrors": False}
    return synthesise(folder / "cdk.out", path, context=context, checked=True)


def roles(members: Synthesised, stack: str = STACK) -> dict[str, dict[str, Any]]:
    """Those that are entered, by the name of their function."""
    named = {
        one["RoleName"]: one
        for one in members.resources("AWS::IAM::Role", stack).values()
        if "RoleName" in one
    }
    names = {f"{row.physical_name}-{ENTERED}": row.name for row in CATALOG}
    return {names[name]: role for name, role in named.items()}


def granted(role: dict[str, Any]) -> list[dict[str, Any]]:
    (policy,) = role["Policies"]
    statements: list[dict[str, Any]] = policy["PolicyDocument"]["Statement"]
    return statements


def allowed(role: dict[str, Any]) -> set[str]:
    return {action for one in granted(role) for action in listed(one["Action"])}


def test_cdk_nag_finds_nothing_in_the_stacks_of_members(members: Synthesised) -> None:
    assert findings(members.folder) == set()


def test_there_is_a_stack_for_each_place_of_another_account(members: Synthesised) -> None:
    stacks = {path.name.removesuffix(".template.json") for path in members.templates}

    assert stacks == {
        *("Lastgood", "LastgoodState", STACK),
        *(f"Lastgood-{VAULT}-{region}" for region in (HOME, AWAY)),
    }


def test_each_function_has_a_role_there_which_only_it_may_enter(members: Synthesised) -> None:
    trusted = {
        name: role["AssumeRolePolicyDocument"]["Statement"] for name, role in roles(members).items()
    }

    assert set(trusted) == {row.name for row in CATALOG}
    for row in CATALOG:
        (statement,) = trusted[row.name]
        assert statement["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
        assert statement["Condition"] == {
            "StringEquals": {"sts:ExternalId": f"lastgood-{ACCOUNT}"},
            "ArnEquals": {
                "aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/{row.physical_name}-{HOME}"
            },
        }


def test_a_function_may_enter_its_own_roles_and_no_others(members: Synthesised) -> None:
    for row in CATALOG:
        entered = [
            role
            for one in members.granted(row)
            if "sts:AssumeRole" in listed(one["Action"])
            for role in listed(one["Resource"])
        ]
        assert entered
        assert {one.rpartition("/")[2] for one in entered} <= {
            f"{row.physical_name}-abroad-{region}" for region in (HOME, AWAY)
        }
        assert f"arn:aws:iam::{MEMBER}:role/{row.physical_name}-{ENTERED}" in entered


def test_a_function_may_do_there_what_it_may_do_at_home_with_sources(members: Synthesised) -> None:
    changing = {
        name: {one for one in allowed(role) if changes(one)}
        for name, role in roles(members).items()
    }

    assert changing == {
        "plan_snapshots": set(),
        "create_snapshots": {"ec2:CreateSnapshot", "ec2:CreateSnapshots", "ec2:CreateTags"},
        "record_snapshot": set(),
        "copy_snapshots": {"ec2:ModifySnapshotAttribute"},
        "sweep": {"ec2:DeleteSnapshot"},
        "prune_snapshots": {"ec2:CreateTags", "ec2:DeleteTags"},
        "delete_snapshots": {"ec2:DeleteSnapshot"},
    }
    for row in CATALOG:
        at_home = {action for one in members.granted(row) for action in listed(one["Action"])}
        assert allowed(roles(members)[row.name]) <= at_home


@pytest.mark.parametrize("function", ["sweep", "prune_snapshots", "delete_snapshots"])
@pytest.mark.parametrize("account", [MEMBER, VAULT])
def test_what_prunes_in_an_account_touches_its_snapshots_only_and_none_without_our_tag(
    members: Synthesised, account: str, function: str
) -> None:
    role = roles(members, f"Lastgood-{account}-{HOME}")[function]

    touching = [one for one in granted(role) if any(map(changes, listed(one["Action"])))]

    assert touching
    for one in touching:
        assert one["Resource"] == "arn:aws:ec2:*::snapshot/*"
        assert one["Condition"]["StringEquals"] == {
            "aws:RequestedRegion": [HOME],
            "aws:ResourceAccount": account,
        }
        assert one["Condition"]["Null"]["aws:ResourceTag/lastgood:point"] == "false"


def test_at_home_too_only_snapshots_of_the_account_are_touched(members: Synthesised) -> None:
    touching = [
        one["Condition"]["StringEquals"]["aws:ResourceAccount"]
        for row in CATALOG
        for one in members.granted(row)
        if {"ec2:DeleteSnapshot", "ec2:DeleteTags"} & set(listed(one["Action"]))
    ]

    assert set(touching) == {ACCOUNT}


def test_snapshots_are_taken_with_the_tag_of_their_point(members: Synthesised) -> None:
    role = roles(members)["create_snapshots"]
    untagged = {
        (action, resource.replace(MEMBER, ACCOUNT))
        for one in granted(role)
        for action in listed(one["Action"])
        for resource in listed(one["Resource"])
        if changes(action)
        and not any(
            key.startswith("aws:RequestTag/lastgood:") or key == "ec2:CreateAction"
            for pairs in one["Condition"].values()
            for key in pairs
        )
    }

    assert untagged == READ_BY_A_SNAPSHOT


def test_the_vault_copies_what_the_member_shares_with_it_and_no_other_account(
    members: Synthesised,
) -> None:
    sharing = [
        one["Condition"]["StringEquals"]
        for one in granted(roles(members)["copy_snapshots"])
        if "ec2:ModifySnapshotAttribute" in listed(one["Action"])
    ]
    vault = next(
        one
        for one in members.resources("AWS::IAM::Role", f"Lastgood-{VAULT}-{AWAY}").values()
        if one.get("RoleName") == f"lastgood-copy-snapshots-abroad-{AWAY}"
    )
    decrypting = [
        one["Resource"] for one in granted(vault) if "kms:Decrypt" in listed(one["Action"])
    ]

    assert [(one["aws:ResourceAccount"], *list(one.values())[2]) for one in sharing] == [
        (MEMBER, VAULT),
        (MEMBER, VAULT),
    ]
    own, others = sorted(decrypting, key=str, reverse=True)
    assert own == f"arn:aws:kms:{HOME}:{VAULT}:key/*"
    assert others == [f"arn:aws:kms:{HOME}:{of}:key/*" for of in (ACCOUNT, MEMBER)]


def test_events_of_the_member_come_home_and_the_bus_takes_them(members: Synthesised) -> None:
    (rule,) = members.resources("AWS::Events::Rule", STACK).values()
    (bus,) = members.resources("AWS::Events::EventBusPolicy").values()

    assert rule["EventPattern"] == {
        "source": ["aws.ec2"],
        "detail-type": list(EBS_DETAIL_TYPES),
        "detail": {"event": ["createSnapshot", "createSnapshots", "copySnapshot"]},
    }
    assert rule["Targets"][0]["Arn"] == f"arn:aws:events:{HOME}:{ACCOUNT}:event-bus/default"
    assert bus["Statement"]["Principal"]["AWS"] == [
        f"arn:aws:iam::{of}:root" for of in (VAULT, MEMBER)
    ]


def test_functions_know_the_accounts_and_who_they_are_there(members: Synthesised) -> None:
    told = {row.name: members.function(row)["Environment"]["Variables"] for row in CATALOG}

    record, copy = told["record_snapshot"], told["copy_snapshots"]
    assert record["LASTGOOD_MEMBERS"] == f"{ACCOUNT},{VAULT},{MEMBER}"
    assert copy["LASTGOOD_ACCOUNTS"] == f"{ACCOUNT},{VAULT}"
    for row in CATALOG:
        assert told[row.name]["LASTGOOD_FUNCTION"] == row.physical_name
        assert told[row.name]["LASTGOOD_EXTERNAL_ID"] == f"lastgood-{ACCOUNT}"


def test_where_only_sources_are_there_is_no_key(members: Synthesised) -> None:
    assert members.resources("AWS::KMS::Key", STACK) == {}
    assert len(members.resources("AWS::KMS::Key", f"Lastgood-{VAULT}-{AWAY}")) == 1
