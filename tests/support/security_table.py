"""``docs/security.md``: who may do what and why, read from the synthesised templates.

``python -m tests.support.security_table --write`` writes the page anew.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from infra import grants
from infra.bundle import CHAT
from infra.catalog import CATALOG
from infra.grants import Grant, Right
from tests import ROOT
from tests.infra.conftest import ACCOUNT, HOME, Synthesised, synthesise

FILE = ROOT / "docs/security.md"
POLICIES = ROOT / "tests/e2e/policies.yaml"
PERMISSIONS = ROOT / "tests/e2e/chat.yaml"
"""Of two Regions, so that the forwarder is there too. Rights depend on nothing else of policies."""

READS = ("BatchGet", "Describe", "Get", "List", "Query")

NAMED_BY = {
    "AWS::DynamoDB::GlobalTable": ("table", "TableName"),
    "AWS::Events::EventBus": ("bus", "Name"),
    "AWS::Lambda::Function": ("function", "FunctionName"),
    "AWS::IAM::Role": ("role of", "Description"),
    "AWS::S3::Bucket": ("bucket", "BucketName"),
    "AWS::SecretsManager::Secret": ("secret", "Name"),
    "AWS::SNS::Topic": ("topic", "TopicName"),
    "AWS::SQS::Queue": ("queue", "QueueName"),
}

GRANTS = {
    one.name.title().replace("_", ""): one
    for one in (*vars(grants).values(), grants.logs_use_key(HOME))
    if isinstance(one, Grant)
}
"""By the beginning of the Sids of their statements; the number after it is that of the right."""

OPERATORS = {
    "ArnEquals": "is",
    "ArnLike": "is like",
    "Bool": "is",
    "ForAllValues:StringEquals": "are all",
    "ForAllValues:StringLike": "are all like",
    "StringEquals": "is",
}

TOP = f"""\
# Security: who may do what

For an auditor. This page is made from the synthesised templates, by `make security`; a test \
fails when it is stale.
It was made for policies of two Regions, eu-north-1 and {HOME}, of which the second is home, and \
with chat. Other policies change these Regions, and the tags by which they select; nothing else.

- Each function has a role of its own, with one inline policy; what is too long for that is in \
managed policies of its own. Nothing else is attached, and CDK cannot add to it.
- Actions are spelled in full. An action that changes anything is bound to a resource of ours or \
to our tags: a snapshot may be taken of any volume, for policies select by tags at run time, but \
none without the tag of its point. `*` stands only where AWS knows no resources: at EC2's \
describes, at the answer to a task of Step Functions, and where that has its log delivered.
- Rights equal calls: `tests/e2e/test_grants_equal_calls.py` deploys the bundle, lets everything \
happen, and fails if a right was not used or a call was denied. `tests/infra/test_grants.py` \
holds the rules of this page.
- The role that creates snapshots cannot delete any. Those that delete points cannot create, and \
cannot touch what lacks the tag `lastgood:point`, or bears that of a hold, `lastgood:hold`.
- In another account that a policy looks in or copies to, each function has a role of its own \
for each Region, which only its role here may enter, with the external id; it may do there what \
its role here may do with EC2, with what that account owns (`aws:ResourceAccount`).
- The function that people ask about pruning can delete nothing: it plans, and another applies.
- A condition on `dynamodb:LeadingKeys` says to which partitions of the ledger or of an index a \
role comes; [architecture](architecture.md#the-ledger) says what is there.
- Restores make nothing without the tag `lastgood:restore`, and remove nothing without it. They \
stop, start and change only instances that bear the tags of a policy, or that one. They are made \
in this account only.
- In a Region that copies go to, all that restores need is there again, with the same rights in \
that Region alone, on its replica of the ledger.
- No role may change IAM, or read what is in a volume. Who restores passes roles to EC2: see below.

"""

BOTTOM = """
## What this does not protect from

- An administrator of the account, or whoever may deploy: CloudFormation acts under CDK's own \
role.
- Somebody who may put the tag `lastgood:point` on a snapshot of somebody else: `lastgood-sweep` \
may then delete it. It also wants the snapshot to be of the point's volumes and begun while the \
point was taken, but that is code, not policy.
- If a policy has `encryption: required`, `lastgood-copy-snapshots` may delete every snapshot with \
the tag of a point and without that of a hold, in the Regions of such policies: that only what has \
an encrypted copy in its point goes is code, not policy.
- User data of instances is read and kept with the point in the ledger, encrypted with the key. \
Who may read the ledger and use the key by way of DynamoDB can read it, and what secrets people \
left there.
- Whoever may put `lastgood:hold` on our snapshots can keep them for ever; whoever may take it \
away, and invoke `lastgood-prune-snapshots`, can release them.
- **Whoever may invoke `lastgood-clone-instance` can have an instance launched with any instance \
profile of the account, and a command run on it**: a clone has the role of its original, or what \
is asked for, and IAM cannot tell them apart. Give that right as you would give the rights of \
those roles, or deploy with the context `lastgood:clone_roles`, the names of the roles that \
clones may have. Who asks, and who approves, is what the caller writes; CloudTrail tells who \
invoked, if it logs data events of Lambda. In chat, nobody can ask for a profile or a \
command, and Slack says who asks.
- A restore in place may change every instance that bears the tags of a policy: who may tag an \
instance can make it one of these. Volumes that are attached to it or taken from it need no tags.
- IAM has no right only to try a launch: `lastgood-clone-instance`, which asks EC2 whether it \
would launch, could launch what bears the tag of a restore.
- An answer to a task of Step Functions needs its token, and names no resource. The tokens of \
approvals are in the ledger.
- Everybody who knows the URL of `lastgood-chat` may call it, ten at a time at most. Nothing \
happens without Slack's signature, but each call costs, and while it is flooded people get no \
answer.
- DynamoDB's rights end at the partition: who may write a point may write any point.
- Whoever may put messages into the queue of take requests has sources taken. Its policy lets in \
no other service and no other account; identity policies of the account may.
"""


@dataclass(frozen=True)
class Templates:
    """The stacks of one synth, with a name for what their references mean."""

    synthesised: Synthesised

    @property
    def stacks(self) -> list[str]:
        return [path.name.removesuffix(".template.json") for path in self.synthesised.templates]

    def of_type(self, type_: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """The stack, logical id and properties of each."""
        for stack in self.stacks:
            for name, properties in self.synthesised.resources(type_, stack).items():
                yield stack, name, properties

    @cached_property
    def names(self) -> dict[str, str]:
        """What a person calls a resource, by its logical id."""
        named = {
            id_: f"{kind} `{properties[key]}`"
            for type_, (kind, key) in NAMED_BY.items()
            for _, id_, properties in self.of_type(type_)
        }
        # Roles use that of home by reference, and those of other Regions by pattern.
        return named | self.keys("LastgoodState")

    def keys(self, stack: str) -> dict[str, str]:
        """A stack's keys, by logical id, which is the same in each."""
        return {
            alias["TargetKeyId"]["Fn::GetAtt"][0]: f"key `{alias['AliasName']}`"
            for alias in self.synthesised.resources("AWS::KMS::Alias", stack).values()
        }

    @cached_property
    def exports(self) -> dict[str, Any]:
        return {
            output["Export"]["Name"]: output["Value"]
            for stack in self.stacks
            for output in self.synthesised.template(stack).get("Outputs", {}).values()
            if "Export" in output
        }

    def shown(self, value: Any) -> str:
        """A reference by its name, a text as it is; the account's number is left out."""
        if isinstance(value, str):
            return f"`{value.replace(ACCOUNT, 'ACCOUNT')}`"
        ((function, given),) = value.items()
        if function == "Ref":
            return self.names[given]
        if function == "Fn::GetAtt":
            return self.names[given[0]]
        if function == "Fn::ImportValue":
            return self.shown(self.exports[given])
        # Of the ledger's ARN and what stands behind it.
        _, (whole, part) = given
        return f"{self.shown(whole)}, {part.removeprefix('/').replace('/', ' `')}`"


def page(synthesised: Synthesised) -> str:
    templates = Templates(synthesised)
    return "".join((TOP, *_roles(templates), *_resources(templates), *_trusts(templates), BOTTOM))


def _roles(templates: Templates) -> Iterator[str]:
    # What is in several stacks, such as all that restores need, has the same id in each; the home
    # stack comes last.
    roles = {
        id_: (role["Description"], templates.synthesised.rights(role, stack))
        for stack, id_, role in templates.of_type("AWS::IAM::Role")
    }
    used = {
        function["FunctionName"]: function["Role"]["Fn::GetAtt"][0]
        for _, _, function in templates.of_type("AWS::Lambda::Function")
    }
    yield "## In short\n\n"
    yield from _table("role", "changes in EC2", "changes elsewhere")
    for row in CATALOG:
        changes = sorted(_changes(roles[used[row.physical_name]][1]))
        ec2 = [one for one in changes if one.startswith("ec2:")]
        rest = [one for one in changes if one not in ec2 and not one.startswith(("kms:", "logs:"))]
        yield _line(f"`{row.physical_name}`", _codes(ec2) or "nothing", _codes(rest))
    for row in CATALOG:
        yield f"\n## {row.physical_name}\n\n{row.description}.\n\n"
        yield from _rights(templates, roles[used[row.physical_name]][1])
    for id_, (description, granted) in roles.items():
        if id_ not in used.values():
            yield f"\n## {description}\n\n"
            yield from _rights(templates, granted)


def _changes(granted: list[dict[str, Any]]) -> set[str]:
    return {
        action
        for statement in granted
        for action in _listed(statement["Action"])
        if not action.partition(":")[2].startswith(READS)
    }


def _rights(templates: Templates, granted: list[dict[str, Any]]) -> Iterator[str]:
    yield from _table("action", "resource", "condition", "why")
    before = None
    for statement in granted:
        grant, right = _granted_by(statement)
        reason = "as above" if grant is before else grant.reason
        yield _line(
            _codes(_listed(statement["Action"])),
            "<br>".join(map(templates.shown, _listed(statement["Resource"]))),
            _conditions(statement),
            f"{reason}. Wide: {right.wide}" if right.wide else reason,
        )
        before = grant


def _resources(templates: Templates) -> Iterator[str]:
    """The policies that keys, queues, topics and buckets have themselves."""
    yield "\n## Policies of the keys, the queues, the topic, the bucket and chat\n\n"
    yield "Who is not in here is let in by identity policies of the account only. "
    yield "In a key's policy, `*` is the key itself.\n\n"
    yield from _table("of", "effect", "who", "action", "condition", "why")
    for stack, id_, key in templates.of_type("AWS::KMS::Key"):
        _, _, further = stack.partition("-")
        name = templates.keys(stack)[id_]
        yield from _let_in(f"{name} in {further}" if further else name, key["KeyPolicy"])
    for type_, of in (
        ("AWS::S3::BucketPolicy", "Bucket"),
        ("AWS::SQS::QueuePolicy", "Queues"),
        ("AWS::SNS::TopicPolicy", "Topics"),
    ):
        for _, _, policy in templates.of_type(type_):
            names = ", ".join(map(templates.shown, _listed(policy[of])))
            yield from _let_in(names, policy["PolicyDocument"])

    for _, _, permission in templates.of_type("AWS::Lambda::Permission"):
        condition = (
            "by its URL"
            if permission.get("InvokedViaFunctionUrl")
            else f"`lambda:FunctionUrlAuthType` is `{permission['FunctionUrlAuthType']}`"
        )
        yield _line(
            templates.shown(permission["FunctionName"]),
            "allow",
            _principal(permission["Principal"]),
            _codes([permission["Action"]]),
            condition,
            "Slack has no AWS credentials: the function refuses what Slack has not signed",
        )


def _let_in(of: str, document: dict[str, Any]) -> Iterator[str]:
    for statement in document["Statement"]:
        yield _line(
            of,
            statement["Effect"].lower(),
            _principal(statement["Principal"]),
            _codes(_listed(statement["Action"])),
            _conditions(statement),
            _why(statement),
        )


def _trusts(templates: Templates) -> Iterator[str]:
    yield "\n## Who may assume the roles\n\n"
    yield from _table("role", "by", "condition")
    for _, _, role in templates.of_type("AWS::IAM::Role"):
        for statement in role["AssumeRolePolicyDocument"]["Statement"]:
            yield _line(
                role["Description"], _principal(statement["Principal"]), _conditions(statement)
            )


def _principal(principal: Any) -> str:
    if principal == "*" or principal == {"AWS": "*"}:
        return "everybody"
    ((_, name),) = principal.items()
    return f"`{name.replace(ACCOUNT, 'ACCOUNT')}`"


def _conditions(statement: dict[str, Any]) -> str:
    return "<br>".join(
        _condition(operator, key, _listed(values))
        for operator, pairs in statement.get("Condition", {}).items()
        for key, values in pairs.items()
    )


def _condition(operator: str, key: str, values: list[str]) -> str:
    if operator == "Null":
        return f"`{key}` is {'absent' if values == ['true'] else 'there'}"
    wanted = " or ".join(f"`{value.replace(ACCOUNT, 'ACCOUNT')}`" for value in values)
    return f"`{key}` {OPERATORS[operator]} {wanted}"


def _why(statement: dict[str, Any]) -> str:
    if statement["Effect"] == "Deny":
        return "No call without TLS"
    if statement["Action"] == "kms:*":
        return (
            "The account's identity policies decide who manages and uses the key; without this "
            "nobody could ever change it (KMS, default key policy)"
        )
    return _granted_by(statement)[0].reason


def _granted_by(statement: dict[str, Any]) -> tuple[Grant, Right]:
    """What the statement's Sid names."""
    named = re.fullmatch(r"(\D+)(\d+)(?:or\d+)?", statement["Sid"])
    if named is None:
        raise ValueError(f"{statement['Sid']} is of no grant")
    grant = GRANTS[named[1]]
    return grant, grant.rights[int(named[2]) - 1]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _codes(actions: list[str]) -> str:
    return ", ".join(f"`{one}`" for one in actions)


def _table(*columns: str) -> Iterator[str]:
    yield _line(*columns)
    yield "|" + "---|" * len(columns) + "\n"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = page(synthesise(Path(folder), POLICIES, context={CHAT: str(PERMISSIONS)}))
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
