"""IAM policy documents, judged: actions, resources, principals and conditions.

Whatever is not taught here raises, so that a policy never passes because it was not understood.
Source: "Policy evaluation logic" and "IAM JSON policy elements" of the IAM User Guide.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["allowed", "implicitDeny", "explicitDeny"]
Context = Mapping[str, str | list[str]]

# Keys that a request may lack; any other key in a condition has not been thought about.
KNOWN_KEYS = re.compile(
    r"aws:(RequestTag/.+|ResourceTag/.+|TagKeys|RequestedRegion|SourceArn|SourceAccount"
    r"|SecureTransport|PrincipalAccount|PrincipalArn|PrincipalOrgID|ResourceAccount|ViaAWSService|CalledVia)"
    r"|ssm:resourceTag/.+|ec2:(CreateAction|ParentSnapshot|InstanceType|ResourceTag/.+|Region|(Add|Remove)/userId)|sts:(ExternalId|RoleSessionName)|iam:PassedToService"
    r"|lambda:(FunctionUrlAuthType|InvokedViaFunctionUrl)|cloudwatch:namespace|sns:Protocol|sns:Endpoint|events:(source|detail-type)|dynamodb:LeadingKeys"
    r"|kms:(ViaService|CallerAccount|GrantIsForAWSResource|EncryptionContext:.+)",
    re.IGNORECASE,
)
OPERATOR_NAME = re.compile(r"(?:(ForAllValues|ForAnyValue):)?(\w+?)(IfExists)?")


class NotTaught(NotImplementedError):
    """A policy, an action or a condition that nobody taught the test cloud."""


@dataclass(frozen=True)
class Need:
    """One permission that a call needs: an action on a resource, and what conditions may ask."""

    action: str
    resource: str = "*"
    context: Context = field(default_factory=dict)


@dataclass(frozen=True)
class Caller:
    """Who asks, as a resource policy names it."""

    account: str
    arn: str | None = None
    service: str | None = None


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@functools.lru_cache(maxsize=4096)
def _pattern(pattern: str) -> re.Pattern[str]:
    escaped = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.compile("".join(escaped), re.DOTALL)


def like(pattern: str, value: str) -> bool:
    return _pattern(pattern).fullmatch(value) is not None


def _arn_like(pattern: str, value: str) -> bool:
    # Each of the six parts between the colons is compared by itself.
    wanted, given = pattern.split(":", 5), value.split(":", 5)
    return len(wanted) == len(given) and all(map(like, wanted, given))


OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, given: wanted == given,
    "StringEqualsIgnoreCase": lambda wanted, given: wanted.lower() == given.lower(),
    "StringLike": like,
    "ArnLike": _arn_like,
    "ArnEquals": _arn_like,
    "Bool": lambda wanted, given: wanted.lower() == given.lower(),
}


def holds(condition: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    """Whether every key of every operator holds for the request.

    Raises:
        NotTaught: an operator or a key that is not modelled.
    """
    folded = {key.lower(): value for key, value in context.items()}
    return all(
        _holds(operator, key, [str(v) for v in listed(wanted)], folded)
        for operator, pairs in condition.items()
        for key, wanted in pairs.items()
    )


def _holds(operator: str, key: str, wanted: list[str], context: Context) -> bool:
    if not KNOWN_KEYS.fullmatch(key):
        raise NotTaught(f"condition key {key}")
    if not (parsed := OPERATOR_NAME.fullmatch(operator)):
        raise NotTaught(f"condition operator {operator}")
    quantifier, name, if_exists = parsed.groups()
    given = context.get(key.lower())
    if name == "Null":
        return (given is None) == (wanted[0].lower() == "true")
    negated = name.replace("Not", "", 1) in OPERATORS and name not in OPERATORS
    compare = OPERATORS.get(name.replace("Not", "", 1) if negated else name)
    if compare is None:
        raise NotTaught(f"condition operator {operator}")

    def matches(value: str) -> bool:
        return any(compare(w, value) for w in wanted) != negated

    values = [] if given is None else [str(v) for v in listed(given)]
    if quantifier == "ForAllValues":
        return all(map(matches, values))
    if quantifier == "ForAnyValue":
        return any(map(matches, values))
    if given is None:
        # A negated operator holds for a key that is absent; so does any operator with ...IfExists.
        return negated or if_exists is not None
    return any(map(matches, values))


def _concerns(statement: Mapping[str, Any], need: Need, caller: Caller | None) -> bool:
    if unknown := set(statement) - {
        *("Sid", "Effect", "Action", "NotAction", "Resource", "NotResource"),
        *("Condition", "Principal"),
    }:
        raise NotTaught(f"policy element {sorted(unknown)}")
    actions = listed(statement.get("Action", statement.get("NotAction")))
    if any(like(a.lower(), need.action.lower()) for a in actions) != ("Action" in statement):
        return False
    # A trust policy has no Resource.
    resources = listed(statement.get("Resource", statement.get("NotResource", "*")))
    if any(like(r, need.resource) for r in resources) == ("NotResource" in statement):
        return False
    if caller is not None and not _names(statement.get("Principal", {}), caller):
        return False
    return holds(statement.get("Condition") or {}, need.context)


def _names(principal: Any, caller: Caller) -> bool:
    if principal == "*":
        return True
    for kind, names in principal.items():
        for name in listed(names):
            if kind == "Service" and name == caller.service:
                return True
            # A bare account number stands for its root. Root as principal hands the decision over
            # to IAM, and is asked for as such; it permits nobody by itself.
            written = f"arn:aws:iam::{name}:root" if str(name).isdigit() else name
            if kind == "AWS" and caller.service is None and written in ("*", caller.arn):
                return True
            if kind not in ("Service", "AWS"):
                raise NotTaught(f"principal {kind}")
    return False


def owner_of(resource: str) -> str | None:
    """The account in an ARN; None where there is none."""
    parts = resource.split(":")
    return parts[4] if len(parts) > 5 and parts[4].isdigit() else None


def root_of(account: str) -> Caller:
    return Caller(account, arn=f"arn:aws:iam::{account}:root")


def judge(
    documents: Iterable[Mapping[str, Any]], need: Need, caller: Caller | None = None
) -> Verdict:
    """What the documents together say; ``caller`` is given for resource and trust policies only."""
    verdict: Verdict = "implicitDeny"
    for document in documents:
        for statement in listed(document["Statement"]):
            if _concerns(statement, need, caller):
                if statement["Effect"] == "Deny":
                    return "explicitDeny"
                verdict = "allowed"
    return verdict


def lets_in(documents: Iterable[Mapping[str, Any]], need: Need, caller: Caller) -> Verdict:
    """What the policy of a resource, or of a role, says of the caller or of his whole account.

    Either is only half of the answer to somebody of another account: his own policies are asked
    as well. Source: "Cross-account policy evaluation logic" of the IAM User Guide.
    """
    known = list(documents)
    who = {"aws:PrincipalAccount": caller.account, "aws:PrincipalArn": caller.arn or ""}
    asked = Need(need.action, need.resource, {**who, **need.context})
    verdicts = {judge(known, asked, named) for named in (caller, root_of(caller.account))}
    if "explicitDeny" in verdicts:
        return "explicitDeny"
    return "allowed" if "allowed" in verdicts else "implicitDeny"
