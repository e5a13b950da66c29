"""The whole app: which stacks there are, and in which Regions."""

from collections.abc import Mapping
from pathlib import Path

from aws_cdk import App, Environment

from infra.chat import load_chat
from infra.duties import others
from infra.packages import ROOT
from infra.policies import load_policies
from infra.stacks.abroad import AbroadStack
from infra.stacks.destination import DestinationStack
from infra.stacks.forwarder import ForwarderStack
from infra.stacks.lastgood import LastgoodStack
from infra.stacks.state import StateStack
from lastgood.domain.place import Place
from lastgood.domain.policy import Policy, copy_places, source_places

POLICIES = "lastgood:policies"
REGION = "lastgood:region"
EMAIL = "lastgood:email"
CHAT = "lastgood:chat"
EXTERNAL_ID = "lastgood:external_id"
CLONE_ROLES = "lastgood:clone_roles"


class AccountUnknown(Exception):
    """Policies name other accounts, and nothing says which of them is home."""


class RegionUnknown(Exception):
    """Policies name Regions, and nothing says which of them is home."""


def build(app: App, *, account: str | None, region: str | None) -> None:
    """Add every stack to ``app``. Its context says which policies, and may say which Region, whom
    to tell by e-mail, who may ask by chat, which roles a clone may have, and which external id
    roles in other accounts ask for.

    ``account`` and ``region`` are those that the CLI goes to by default; None if it has none.

    Raises:
        PolicyInvalid, ChatInvalid: the policies have mistakes, or who may ask by chat has.
        OSError: one of these files cannot be read.
        RegionUnknown, AccountUnknown: see there.
        PackagesMissing: the layer cannot be made.
    """
    home: str | None = app.node.try_get_context(REGION) or region
    path = ROOT / Path(app.node.try_get_context(POLICIES) or "policies.yaml")
    policies = load_policies(path, home_region=home, home_account=account)
    sources, destinations = _further_regions(policies, home, account)
    here = Environment(account=account, region=home)
    email: str | None = app.node.try_get_context(EMAIL)
    # Names of roles with their paths, with commas; * stands for anything in them.
    roles: str = app.node.try_get_context(CLONE_ROLES) or "*"
    clone_roles = tuple(one.strip() for one in roles.split(",") if one.strip())
    further = {
        region: DestinationStack(
            app,
            f"Lastgood-{region}",
            home=str(home),
            policies=policies,
            email=email,
            clone_roles=clone_roles,
            env=Environment(account=account, region=region),
        )
        for region in sorted(destinations)
    }
    for region in sorted(sources - destinations):
        ForwarderStack(
            app,
            f"Lastgood-{region}",
            home=str(home),
            env=Environment(account=account, region=region),
        )
    external_id = app.node.try_get_context(EXTERNAL_ID) or f"lastgood-{account}"
    at_home = Place(region=str(home), account=account or "")
    for place in _others(policies, at_home):
        AbroadStack(
            app,
            f"Lastgood-{place.account}-{place.region}",
            home=at_home,
            policies=list(policies.values()),
            external_id=external_id,
            env=Environment(account=place.account, region=place.region),
        )
    chat: str | None = app.node.try_get_context(CHAT)
    state = StateStack(app, "LastgoodState", replicas=sorted(destinations), env=here)
    for region in sorted(destinations):
        state.add_stack_dependency(further[region], "the key of the ledger's replica is there")
    LastgoodStack(
        app,
        "Lastgood",
        policies=policies,
        state=state,
        external_id=external_id,
        email=email,
        clone_roles=clone_roles,
        permissions=load_chat(ROOT / chat) if chat else None,
        env=here,
    )


def _further_regions(
    policies: Mapping[str, Policy], home: str | None, account: str | None
) -> tuple[set[str], set[str]]:
    """The Regions that have sources, and those that copies go to, without home.

    Raises:
        RegionUnknown: see there.
    """
    if home is not None:
        at_home = Place(region=home, account=account or "")
        sources = source_places(policies.values(), at_home)
        copies = copy_places(policies.values(), at_home)
        looked_at, copied_to = (
            {one.region for one in some if one.account == at_home.account} - {home}
            for some in (sources, copies)
        )
        return looked_at, copied_to
    naming = sorted(
        name
        for name, policy in policies.items()
        if policy.select.regions or policy.select.accounts or policy.copies
    )
    if naming:
        raise RegionUnknown(
            f"policies that name Regions ({', '.join(naming)}) need to know where Lastgood itself "
            f"goes: set AWS_REGION, or give cdk the option -c {REGION}=eu-west-1"
        )
    return set(), set()


def _others(policies: Mapping[str, Policy], home: Place) -> tuple[Place, ...]:
    """The places in other accounts.

    Raises:
        AccountUnknown: see there.
    """
    found = others(policies.values(), home)
    if found and not home.account:
        named = ", ".join(sorted({one.account for one in found}))
        raise AccountUnknown(
            f"policies that look in other accounts or copy to them ({named}) need to know in which "
            "Lastgood itself goes: log in to it, or set CDK_DEFAULT_ACCOUNT"
        )
    return found
