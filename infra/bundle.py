"""The whole app: which stacks there are, and in which Regions."""

from collections.abc import Mapping
from pathlib import Path

from aws_cdk import App, Environment

from infra.packages import ROOT
from infra.policies import load_policies
from infra.stacks.forwarder import ForwarderStack
from infra.stacks.lastgood import LastgoodStack
from infra.stacks.state import StateStack
from lastgood.domain.policy import Policy, source_regions

POLICIES = "lastgood:policies"
REGION = "lastgood:region"
EMAIL = "lastgood:email"


class RegionUnknown(Exception):
    """Policies name Regions, and nothing says which of them is home."""


def build(app: App, *, account: str | None, region: str | None) -> None:
    """Add every stack to ``app``. Its context says which policies, and may say which Region and
    whom to tell by e-mail.

    ``account`` and ``region`` are those that the CLI goes to by default; None if it has none.

    Raises:
        PolicyInvalid: the policies have mistakes.
        OSError: there are no policies to read.
        RegionUnknown: see there.
        PackagesMissing: the layer cannot be made.
    """
    home: str | None = app.node.try_get_context(REGION) or region
    path = ROOT / Path(app.node.try_get_context(POLICIES) or "policies.yaml")
    policies = load_policies(path, home_region=home)
    others = _other_regions(policies, home)
    here = Environment(account=account, region=home)
    state = StateStack(app, "LastgoodState", env=here)
    LastgoodStack(
        app,
        "Lastgood",
        policies=policies,
        state=state,
        email=app.node.try_get_context(EMAIL),
        env=here,
    )
    for other in others:
        ForwarderStack(
            app,
            f"Lastgood-{other}",
            home=str(home),
            env=Environment(account=account, region=other),
        )


def _other_regions(policies: Mapping[str, Policy], home: str | None) -> tuple[str, ...]:
    if home is not None:
        named = {*source_regions(policies.values(), home)}
        named |= {one.region for policy in policies.values() for one in policy.copies}
        return tuple(sorted(named - {home}))
    naming = sorted(name for name, policy in policies.items() if policy.select.regions)
    if naming:
        raise RegionUnknown(
            f"policies that name Regions ({', '.join(naming)}) need to know where Lastgood itself "
            f"goes: set AWS_REGION, or give cdk the option -c {REGION}=eu-west-1"
        )
    return ()
