"""Who may do what: the only place where IAM actions are spelled."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aws_cdk import aws_iam as iam

from lastgood.domain import tags
from lastgood.domain.place import Place
from lastgood.domain.policy import TagMatch
from lastgood.ledger import keys

Conditions = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What grants speak of, as ARNs; ``policies`` is a path. Empty: there is none here.

    ``regions``: those of the account in which sources are, so where EC2 may be called; ``copied``:
    those of sources that are copied within the account, and ``destinations``: those in which copies
    are to be; ``encrypting``, among both: those of sources whose points are encrypted in place.
    ``foreign``: where in other accounts sources are that are copied to this one; ``shared``: the
    Regions of this one whose sources are copied to others, which are ``vaults``. ``roles``: those
    of the function in other accounts. ``queue``, ``dead_letters`` and
    ``log_group`` are the function's own. ``planner`` and ``pruner`` are the functions that plan,
    ``plans`` is a bucket, ``function`` what a schedule invokes, ``rules`` what put messages into
    the queue. ``selected``: by which tags policies select what is here. ``machine`` is the restore
    state machine, ``steps`` what it invokes, ``ending_role`` under whom a schedule starts it, and
    ``ending_letters`` where what could not be started goes. ``cloner`` is the function that is
    asked for restores; ``chat`` a parameter, ``secret`` what Slack signs with. ``clone_roles``:
    names of the roles that clones may have, with paths; * stands for anything in them.
    """

    partition: str
    account: str
    region: str
    regions: tuple[str, ...] = ()
    copied: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    encrypting: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    vaults: tuple[str, ...] = ()
    foreign: tuple[Place, ...] = ()
    selected: tuple[TagMatch, ...] = ()
    roles: tuple[str, ...] = ()
    key: str = ""
    table: str = ""
    bus: str = ""
    policies: str = ""
    take_queue: str = ""
    planner: str = ""
    prune_queue: str = ""
    copy_queue: str = ""
    pruner: str = ""
    plans: str = ""
    topic: str = ""
    queue: str = ""
    dead_letters: str = ""
    log_group: str = ""
    function: str = ""
    rules: tuple[str, ...] = ()
    machine: str = ""
    steps: tuple[str, ...] = ()
    ending_role: str = ""
    clone_roles: tuple[str, ...] = ("*",)
    ending_letters: str = ""
    cloner: str = ""
    chat: str = ""
    secret: str = ""

    def ec2(self, resource: str) -> str:
        """In any Region: the conditions say in which."""
        return f"arn:{self.partition}:ec2:*:{self.account}:{resource}"

    @property
    def snapshots(self) -> str:
        """Snapshots have no account in their ARN (Service Authorization Reference, EC2)."""
        return f"arn:{self.partition}:ec2:*::snapshot/*"

    def snapshots_in(self, regions: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"arn:{self.partition}:ec2:{region}::snapshot/*" for region in regions)

    @property
    def images(self) -> str:
        """Nor have images."""
        return f"arn:{self.partition}:ec2:*::image/*"

    @property
    def executions(self) -> str:
        """Of the machine."""
        return self.machine.replace(":stateMachine:", ":execution:") + ":*"

    @property
    def endings(self) -> str:
        group = f"arn:{self.partition}:scheduler:{self.region}:{self.account}:schedule/{ENDINGS}"
        return f"{group}/*"

    def keys(self, region: str, account: str) -> str:
        return f"arn:{self.partition}:kms:{region}:{account}:key/*"

    @property
    def parameters(self) -> str:
        return f"arn:{self.partition}:ssm:{self.region}:{self.account}:parameter{self.policies}"


ENDINGS = "lastgood-restores"
"""The group of the schedules that end what has a time to live."""

Where = Callable[[Places], Sequence[str]]
When = Callable[[Places], Conditions]


def _always(_: Places) -> Conditions:
    return {}


def _once(_: Places) -> Sequence[Conditions]:
    return ({},)


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """``actions`` ``on`` resources ``when`` conditions hold.

    ``each``: and one of these as well. ``wide`` says why a resource is a pattern; empty if none is.
    """

    actions: tuple[str, ...]
    on: Where
    when: When = _always
    each: Callable[[Places], Sequence[Conditions]] = _once
    wide: str = ""

    def conditions(self, places: Places) -> list[Conditions]:
        """Those under which it is given: any of them is enough."""
        return [_all_of(self.when(places), one) for one in self.each(places)]


def _all_of(*several: Conditions) -> Conditions:
    merged: dict[str, dict[str, Any]] = {}
    for conditions in several:
        for operator, pairs in conditions.items():
            merged.setdefault(operator, {}).update(pairs)
    return merged


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Rights that go together, and the reason for them. ``to``: the AWS service that gets them.

    ``settings``: the fields of ``Settings`` by which a function knows what it may use; nobody else
    is told.
    """

    name: str
    reason: str
    rights: tuple[Right, ...]
    to: str | None = None
    settings: tuple[str, ...] = ()

    def statements(self, places: Places) -> list[iam.PolicyStatement]:
        """Without those on no resource at all. Raises ValueError for a grant on something that is
        not there."""
        return [
            iam.PolicyStatement(
                sid=f"{self.name.title().replace('_', '')}{number}{f'or{other}' if other else ''}",
                actions=list(right.actions),
                resources=resources,
                conditions=dict(conditions) or None,
                principals=[iam.ServicePrincipal(self.to)] if self.to else None,
            )
            for number, right in enumerate(self.rights, start=1)
            if (resources := self._resources(right, places))
            for other, conditions in enumerate(right.conditions(places))
        ]

    def _resources(self, right: Right, places: Places) -> list[str]:
        resources = list(right.on(places))
        if not all(resources):
            raise ValueError(f"{self.name} is granted where there is nothing to grant it on")
        return resources

    def wide(self, places: Places) -> dict[str, str]:
        """The resources that are patterns, each with why it has to be one."""
        return {
            resource: right.wide
            for right in self.rights
            for resource in right.on(places)
            if "*" in resource
        }


def _all(_: Places) -> Sequence[str]:
    return ("*",)


def _in_regions(places: Places) -> Conditions:
    return {"StringEquals": {"aws:RequestedRegion": list(places.regions)}}


def _in_all_regions(places: Places) -> Conditions:
    return {"StringEquals": {"aws:RequestedRegion": _all_regions(places)}}


def _all_regions(places: Places) -> list[str]:
    """Those of sources, and those of copies."""
    return sorted({*places.regions, *places.destinations})


def _in_regions_with_point(places: Places) -> Conditions:
    return {**_in_regions(places), "Null": {f"aws:RequestTag/{tags.POINT}": "false"}}


def _own(places: Places, regions: Sequence[str]) -> Conditions:
    """The ARN of a snapshot does not say whose it is."""
    return {
        "StringEquals": {
            "aws:RequestedRegion": list(regions),
            "aws:ResourceAccount": places.account,
        }
    }


def _in_regions_of_a_point_without_hold(places: Places) -> Conditions:
    """EC2 itself refuses to delete for us what bears the tag of a hold, whoever put it there."""
    bears = {f"aws:ResourceTag/{tags.POINT}": "false", f"aws:ResourceTag/{tags.HOLD}": "true"}
    return {**_own(places, places.regions), "Null": bears}


def _in_all_regions_of_a_point_without_hold(places: Places) -> Conditions:
    """Where there are only copies, it has to be one."""
    point = _in_regions_of_a_point_without_hold(places)
    copy = {} if places.regions else {f"aws:ResourceTag/{tags.COPY}": "false"}
    return {**_own(places, _all_regions(places)), "Null": {**point["Null"], **copy}}


def _of_a_point_when_holding(places: Places) -> Conditions:
    named = {f"aws:ResourceTag/{tags.POINT}": "false", "aws:TagKeys": "false"}
    return {
        **_own(places, _all_regions(places)),
        # For all values holds for none as well, and DeleteTags that names no tag takes all away.
        "Null": named,
        "ForAllValues:StringEquals": {"aws:TagKeys": [tags.HOLD]},
    }


def _in_regions_when_creating(places: Places) -> Conditions:
    return {
        "StringEquals": {
            "aws:RequestedRegion": list(places.regions),
            "ec2:CreateAction": ["CreateSnapshot", "CreateSnapshots"],
        }
    }


def _in_destinations(places: Places) -> Conditions:
    return {"StringEquals": {"aws:RequestedRegion": list(places.destinations)}}


def _in_destinations_of_a_point(places: Places) -> Conditions:
    return {**_in_destinations(places), "Null": {f"aws:ResourceTag/{tags.POINT}": "false"}}


def _encrypting(places: Places) -> Sequence[str]:
    return places.encrypting


def _in_encrypting_regions_of_an_original_without_hold(places: Places) -> Conditions:
    bears = {
        f"aws:ResourceTag/{tags.POINT}": "false",
        f"aws:ResourceTag/{tags.COPY}": "true",
        f"aws:ResourceTag/{tags.HOLD}": "true",
    }
    return {
        "StringEquals": {"aws:RequestedRegion": list(places.encrypting)},
        "Null": bears,
    }


def _in_destinations_with_point(places: Places) -> Conditions:
    needed = {f"aws:RequestTag/{one}": "false" for one in (tags.POINT, tags.COPY)}
    return {**_in_destinations(places), "Null": needed}


def _in_destinations_of_a_copy_without_hold(places: Places) -> Conditions:
    bears = {
        f"aws:ResourceTag/{tags.POINT}": "false",
        f"aws:ResourceTag/{tags.COPY}": "false",
        f"aws:ResourceTag/{tags.HOLD}": "true",
    }
    return {**_own(places, places.destinations), "Null": bears}


def _in_destinations_when_copying(places: Places) -> Conditions:
    return {
        "StringEquals": {
            "aws:RequestedRegion": list(places.destinations),
            "ec2:CreateAction": ["CopySnapshot"],
        }
    }


def _via_ec2_in(regions: Callable[[Places], Sequence[str]], *, grant: bool = False) -> When:
    def when(places: Places) -> Conditions:
        services = [f"ec2.{region}.amazonaws.com" for region in regions(places)]
        via = {"StringEquals": {"kms:ViaService": services}}
        return {**via, "Bool": {"kms:GrantIsForAWSResource": "true"}} if grant else via

    return when


def _keys_in(regions: Callable[[Places], Sequence[str]]) -> Where:
    def on(places: Places) -> Sequence[str]:
        return [places.keys(region, places.account) for region in regions(places)]

    return on


def _sharing(key: str) -> When:
    """``key``: whether it is to be shared, or no more."""

    def when(places: Places) -> Conditions:
        own = _own(places, places.shared)["StringEquals"]
        return {
            "StringEquals": {**own, key: list(places.vaults)},
            "Null": {f"aws:ResourceTag/{tags.POINT}": "false"},
        }

    return when


def _copied(places: Places) -> Sequence[str]:
    return places.copied


def _destinations(places: Places) -> Sequence[str]:
    return places.destinations


def _foreign(places: Places) -> Sequence[str]:
    """The Regions of other accounts' sources."""
    return sorted({one.region for one in places.foreign})


def _via(service: str) -> When:
    def when(places: Places) -> Conditions:
        return {"StringEquals": {"kms:ViaService": f"{service}.{places.region}.amazonaws.com"}}

    return when


# EC2

NO_RESOURCE = "EC2's describes know no resources; the condition keeps them to the policies' Regions"

READ_FLEET = Grant(
    name="READ_FLEET",
    reason="Finds the instances and volumes that policies select, and their volumes' facts",
    rights=(
        Right(
            actions=("ec2:DescribeInstances", "ec2:DescribeVolumes"),
            on=_all,
            when=_in_regions,
            wide=NO_RESOURCE,
        ),
    ),
)

FIND_SNAPSHOTS = Grant(
    name="FIND_SNAPSHOTS",
    reason="Looks up what an earlier attempt made, since a create call has no client token, and "
    "why a snapshot failed, which only its state message tells",
    rights=(
        Right(actions=("ec2:DescribeSnapshots",), on=_all, when=_in_regions, wide=NO_RESOURCE),
    ),
)

LAUNCH_TEMPLATE_READS = (
    "ec2:DescribeInstanceAttribute",
    "ec2:DescribeInstanceCreditSpecifications",
    "ec2:DescribeSpotInstanceRequests",
    "ec2:DescribeVolumes",
)
"""What GetLaunchTemplateData calls on our behalf (EC2 API Reference)."""

READ_LAUNCH_ATTRIBUTES = Grant(
    name="READ_LAUNCH_ATTRIBUTES",
    reason="Captures user data, credit mode and protections, without which a clone is lossy",
    rights=(
        Right(
            actions=("ec2:GetLaunchTemplateData",),
            on=lambda places: (places.ec2("instance/*"),) if places.regions else (),
            when=_in_regions,
            wide="any instance may be selected: which ones, the policies' tags say at run time",
        ),
        Right(
            actions=LAUNCH_TEMPLATE_READS,
            on=lambda places: ("*",) if places.regions else (),
            when=_in_regions,
            wide="EC2 asks for these itself, and does not say on which resources",
        ),
    ),
)

TAKE_SNAPSHOTS = Grant(
    name="TAKE_SNAPSHOTS",
    reason="Takes snapshots; each must bear the tag of its point, so that none can be an orphan",
    rights=(
        Right(
            actions=("ec2:CreateSnapshot",),
            on=lambda places: (places.ec2("volume/*"),),
            when=_in_regions,
            wide="any volume may be selected: which ones, the policies' tags say at run time",
        ),
        Right(
            actions=("ec2:CreateSnapshots",),
            on=lambda places: (places.ec2("instance/*"), places.ec2("volume/*")),
            when=_in_regions,
            wide="any instance may be selected: which ones, the policies' tags say at run time",
        ),
        Right(
            actions=("ec2:CreateSnapshot", "ec2:CreateSnapshots"),
            on=lambda places: (places.snapshots,),
            when=_in_regions_with_point,
            wide="a snapshot has no id before it is made; without a point's tag it is not made",
        ),
        Right(
            actions=("ec2:CreateTags",),
            on=lambda places: (places.snapshots,),
            when=_in_regions_when_creating,
            wide="a snapshot has no id before it is made; it is tagged only in the making",
        ),
    ),
)

REMOVE_SURPLUS = Grant(
    name="REMOVE_SURPLUS",
    reason="Deletes what was made a second time for one point, after a lost reply",
    rights=(
        Right(
            actions=("ec2:DeleteSnapshot",),
            on=lambda places: (places.snapshots,),
            when=_in_regions_of_a_point_without_hold,
            wide="which snapshot is too many shows at run time; without a point's tag it is "
            "nobody's to delete",
        ),
    ),
)

COPY_SNAPSHOTS = Grant(
    name="COPY_SNAPSHOTS",
    settings=("accounts",),
    reason="Copies snapshots of points to where policies want them; each copy bears the tags of "
    "its point and of the operation, so that none can be an orphan; finds them again",
    rights=(
        Right(
            actions=("ec2:CopySnapshot",),
            on=lambda places: places.snapshots_in(places.copied),
            when=_in_destinations_of_a_point,
            wide="which points are copied, the policies say at run time; without a point's tag "
            "nothing is",
        ),
        Right(
            actions=("ec2:CopySnapshot",),
            on=lambda places: places.snapshots_in(_foreign(places)),
            when=_in_destinations,
            wide="tags of another account's snapshots are not seen; but only what is shared can be "
            "copied",
        ),
        Right(
            actions=("ec2:CopySnapshot",),
            on=lambda places: places.snapshots_in(places.destinations),
            when=_in_destinations_with_point,
            wide="a copy has no id before it is made; without its tags it is not made",
        ),
        Right(
            actions=("ec2:CreateTags",),
            on=lambda places: places.snapshots_in(places.destinations),
            when=_in_destinations_when_copying,
            wide="a copy has no id before it is made; it is tagged only in the making",
        ),
        Right(actions=("ec2:DescribeSnapshots",), on=_all, when=_in_destinations, wide=NO_RESOURCE),
        Right(
            actions=("servicequotas:ListServiceQuotas",),
            on=_all,
            when=_in_destinations,
            wide="it knows no resources; it tells how many copies a Region takes at one time",
        ),
    ),
)

FIND_COPIES = Grant(
    name="FIND_COPIES",
    reason="Finds copies that are not on record, after a ledger was lost",
    rights=(
        Right(actions=("ec2:DescribeSnapshots",), on=_all, when=_in_destinations, wide=NO_RESOURCE),
    ),
)

ENTER_ACCOUNTS = Grant(
    name="ENTER_ACCOUNTS",
    settings=("external_id",),
    reason="Enters other accounts that sources are in, or copies, by its own roles there",
    rights=(Right(actions=("sts:AssumeRole",), on=lambda places: places.roles),),
)

_WHICH_IS_SHARED = "which points are copied, the policies say at run time; none but ours is shared"

SHARE_SNAPSHOTS = Grant(
    name="SHARE_SNAPSHOTS",
    reason="Shares a snapshot with the account that it is copied to, and no other, while it is",
    rights=tuple(
        Right(
            actions=("ec2:ModifySnapshotAttribute",),
            on=lambda places: places.snapshots_in(places.shared),
            when=_sharing(key),
            wide=_WHICH_IS_SHARED,
        )
        for key in ("ec2:Add/userId", "ec2:Remove/userId")
    ),
)

KEYS_OF_OTHERS = (
    "under which keys volumes and copies are, only their owners know; by way of EC2 alone"
)

USE_COPY_KEYS = Grant(
    name="USE_COPY_KEYS",
    reason="EC2 reads a snapshot and encrypts its copy with the keys of both, for who copies (EBS "
    "User Guide, permissions to use KMS keys); the policy of a key of another account has to let "
    "this one use it",
    rights=(
        Right(
            actions=("kms:Decrypt", "kms:DescribeKey", "kms:ReEncryptFrom"),
            on=_keys_in(_copied),
            when=_via_ec2_in(_copied),
            wide=KEYS_OF_OTHERS,
        ),
        Right(
            actions=("kms:Decrypt", "kms:DescribeKey", "kms:ReEncryptFrom"),
            on=lambda places: [places.keys(one.region, one.account) for one in places.foreign],
            when=_via_ec2_in(_foreign),
            wide=KEYS_OF_OTHERS,
        ),
        Right(
            actions=("kms:CreateGrant",),
            on=lambda places: [places.keys(one.region, one.account) for one in places.foreign],
            when=_via_ec2_in(_foreign, grant=True),
            wide=KEYS_OF_OTHERS,
        ),
        Right(
            actions=("kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptTo"),
            on=_keys_in(_destinations),
            when=_via_ec2_in(_destinations),
            wide=KEYS_OF_OTHERS,
        ),
        Right(
            actions=("kms:CreateGrant",),
            on=_keys_in(_destinations),
            when=_via_ec2_in(_destinations, grant=True),
            wide=KEYS_OF_OTHERS,
        ),
    ),
)

READ_COPY_KEYS = Grant(
    name="READ_COPY_KEYS",
    reason="Sees whether a copy's key is there and enabled: EC2 says so only in the copy, later",
    rights=(Right(actions=("kms:DescribeKey",), on=_keys_in(_destinations), wide=KEYS_OF_OTHERS),),
)

REMOVE_COPIES = Grant(
    name="REMOVE_COPIES",
    reason="Deletes copies that retention frees, that ended in error, or that are given up",
    rights=(
        Right(
            actions=("ec2:DeleteSnapshot",),
            on=lambda places: places.snapshots_in(places.destinations),
            when=_in_destinations_of_a_copy_without_hold,
            wide="which copy failed shows at run time; without the tags of a copy nothing goes",
        ),
    ),
)

JUDGE_SNAPSHOTS = Grant(
    name="JUDGE_SNAPSHOTS",
    reason="Looks up the snapshots of points and copies, and what is in the way of a delete: "
    "images, also disabled ones, locks, the archive",
    rights=(
        Right(
            actions=(
                "ec2:DescribeImages",
                "ec2:DescribeLockedSnapshots",
                "ec2:DescribeSnapshotTierStatus",
                "ec2:DescribeSnapshots",
            ),
            on=_all,
            when=_in_all_regions,
            wide=NO_RESOURCE,
        ),
    ),
)

HOLD_SNAPSHOTS = Grant(
    name="HOLD_SNAPSHOTS",
    reason="Puts the tag of a hold on the snapshots of a point and its copies, and takes it away",
    rights=(
        Right(
            actions=("ec2:CreateTags", "ec2:DeleteTags"),
            on=lambda places: (places.snapshots,),
            when=_of_a_point_when_holding,
            wide="any point may be held; the tag of a hold is the only one it may touch",
        ),
    ),
)

DELETE_SNAPSHOTS = Grant(
    name="DELETE_SNAPSHOTS",
    reason="Deletes the snapshots of points, and of copies, that retention frees",
    rights=(
        Right(
            actions=("ec2:DeleteSnapshot",),
            on=lambda places: (places.snapshots,),
            when=_in_all_regions_of_a_point_without_hold,
            wide="which points go, the plan says at run time; without a point's tag, or with that "
            "of a hold, nothing goes",
        ),
    ),
)

# Restores. They are made in any Region of sources or copies, of this account.


def _with_restore(places: Places) -> Conditions:
    return _all_of(_in_all_regions(places), {"Null": {f"aws:RequestTag/{tags.RESTORE}": "false"}})


def _of_restore(places: Places) -> Conditions:
    return _all_of(_in_all_regions(places), OF_A_RESTORE)


OF_A_RESTORE: Conditions = {"Null": {f"aws:ResourceTag/{tags.RESTORE}": "false"}}
OF_A_POINT: Conditions = {"Null": {f"aws:ResourceTag/{tags.POINT}": "false"}}


def _of_source_or_restore(places: Places) -> Sequence[Conditions]:
    """What some policy selects, and what a restore has made."""
    sources = [
        {"StringEquals": {f"aws:ResourceTag/{key}": list(values) for key, values in match.items()}}
        for match in places.selected
    ]
    return (OF_A_RESTORE, *sources)


def _when_making(*actions: str) -> When:
    def when(places: Places) -> Conditions:
        return _all_of(
            _in_all_regions(places), {"StringEquals": {"ec2:CreateAction": list(actions)}}
        )

    return when


def _only_tags(*keys_: str) -> Conditions:
    """For all values holds for none as well, and a call that names no tag takes all away."""
    return {
        "Null": {"aws:TagKeys": "false"},
        "ForAllValues:StringEquals": {"aws:TagKeys": list(keys_)},
    }


def _on_ec2(*resources: str) -> Where:
    return lambda places: [places.ec2(f"{one}/*") for one in resources]


READ_MACHINES = Grant(
    name="READ_MACHINES",
    reason="Sees before a restore whether it can work: what there is of the source, and whether "
    "type, subnet, address, groups, key pair and profile are there",
    rights=(
        Right(
            actions=(
                "ec2:DescribeImages",
                "ec2:DescribeInstanceTypeOfferings",
                "ec2:DescribeInstanceTypes",
                "ec2:DescribeInstances",
                "ec2:DescribeKeyPairs",
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSnapshots",
                "ec2:DescribeSubnets",
                "ec2:DescribeVolumes",
            ),
            on=_all,
            when=_in_all_regions,
            wide=NO_RESOURCE,
        ),
        Right(
            actions=("iam:GetInstanceProfile",),
            on=lambda places: (f"arn:{places.partition}:iam::{places.account}:instance-profile/*",),
            wide="a clone has the profile of its original, or what a person asks for",
        ),
    ),
)

FIND_RESTORED = Grant(
    name="FIND_RESTORED",
    reason="Finds what a restore has made, by its tag, and how far EC2 is with it",
    rights=(
        Right(
            actions=(
                "ec2:DescribeImages",
                "ec2:DescribeInstances",
                "ec2:DescribeReplaceRootVolumeTasks",
                "ec2:DescribeSnapshots",
                "ec2:DescribeVolumes",
            ),
            on=_all,
            when=_in_all_regions,
            wide=NO_RESOURCE,
        ),
    ),
)

SEE_HEALTH = Grant(
    name="SEE_HEALTH",
    reason="Reads what EC2's status checks say of what was restored",
    rights=(
        Right(
            actions=("ec2:DescribeInstanceStatus", "ec2:DescribeInstances"),
            on=_all,
            when=_in_all_regions,
            wide=NO_RESOURCE,
        ),
    ),
)

COMPARE_CLONES = Grant(
    name="COMPARE_CLONES",
    reason="Captures the settings of a clone, as those of its original were, to lay them side by "
    "side",
    rights=(
        Right(
            actions=("ec2:GetLaunchTemplateData",),
            on=_on_ec2("instance"),
            when=_of_restore,
            wide="a clone has no id before it is made; only what bears a restore's tag is read",
        ),
        Right(
            actions=LAUNCH_TEMPLATE_READS,
            on=_all,
            when=_in_all_regions,
            wide="EC2 asks for these itself, and does not say on which resources",
        ),
    ),
)

READ_RESTORE_KEYS = Grant(
    name="READ_RESTORE_KEYS",
    reason="Sees whether the key of a volume is there and enabled, before anything is made",
    rights=(Right(actions=("kms:DescribeKey",), on=_keys_in(_all_regions), wide=KEYS_OF_OTHERS),),
)

USE_RESTORE_KEYS = Grant(
    name="USE_RESTORE_KEYS",
    reason="EC2 copies, makes, attaches and starts encrypted volumes with their keys, for who asks "
    "for that (EBS User Guide, permissions to use KMS keys)",
    rights=(
        Right(
            actions=(
                "kms:Decrypt",
                "kms:DescribeKey",
                "kms:GenerateDataKeyWithoutPlaintext",
                "kms:ReEncryptFrom",
                "kms:ReEncryptTo",
            ),
            on=_keys_in(_all_regions),
            when=_via_ec2_in(_all_regions),
            wide=KEYS_OF_OTHERS,
        ),
        Right(
            actions=("kms:CreateGrant",),
            on=_keys_in(_all_regions),
            when=_via_ec2_in(_all_regions, grant=True),
            wide=KEYS_OF_OTHERS,
        ),
    ),
)

PASS_RESTORE_KEYS = Grant(
    name="PASS_RESTORE_KEYS",
    reason="EC2 attaches encrypted volumes that come back, and starts their instance, by a grant "
    "of the key, which who asks for that gives (EBS User Guide, how EBS encryption works)",
    rights=(
        Right(
            actions=("kms:CreateGrant",),
            on=_keys_in(_all_regions),
            when=_via_ec2_in(_all_regions, grant=True),
            wide=KEYS_OF_OTHERS,
        ),
    ),
)

COPY_FOR_RESTORES = Grant(
    name="COPY_FOR_RESTORES",
    reason="Copies snapshots of points to where a restore needs them; each copy bears the tag of "
    "the restore, by which it is removed",
    rights=(
        Right(
            actions=("ec2:CopySnapshot",),
            on=lambda places: places.snapshots_in(_all_regions(places)),
            when=lambda places: _all_of(_in_all_regions(places), OF_A_POINT),
            wide="from which point, people say; without a point's tag nothing is copied",
        ),
        Right(
            actions=("ec2:CopySnapshot",),
            on=lambda places: places.snapshots_in(_all_regions(places)),
            when=_with_restore,
            wide="a copy has no id before it is made; without a restore's tag it is not made",
        ),
        Right(
            actions=("ec2:CreateTags",),
            on=lambda places: places.snapshots_in(_all_regions(places)),
            when=_when_making("CopySnapshot"),
            wide="a copy has no id before it is made; it is tagged only in the making",
        ),
    ),
)

REGISTER_IMAGES = Grant(
    name="REGISTER_IMAGES",
    reason="Registers an image of a point's snapshots, with the tag of the restore, to launch from",
    rights=(
        Right(
            actions=("ec2:RegisterImage",),
            on=lambda places: (places.images,),
            when=_with_restore,
            wide="an image has no id before it is made; without a restore's tag it is not made",
        ),
        Right(
            actions=("ec2:RegisterImage",),
            on=lambda places: (places.snapshots,),
            when=_in_all_regions,
            each=lambda _: (OF_A_POINT, OF_A_RESTORE),
            wide="from which point, people say; only of a point's snapshots, or copies of them",
        ),
        Right(
            actions=("ec2:CreateTags",),
            on=lambda places: (places.images,),
            when=_when_making("RegisterImage"),
            wide="an image has no id before it is made; it is tagged only in the making",
        ),
    ),
)

_LAUNCH = (
    Right(
        actions=("ec2:RunInstances",),
        on=_on_ec2("instance", "network-interface", "volume"),
        when=_with_restore,
        wide="what is launched has no id before; without a restore's tag it is not launched",
    ),
    Right(
        actions=("ec2:RunInstances",),
        on=lambda places: (
            places.images,
            places.snapshots,
            *_on_ec2("key-pair", "placement-group", "security-group", "subnet")(places),
            f"arn:{places.partition}:resource-groups:*:{places.account}:group/*",
            f"arn:{places.partition}:license-manager:*:{places.account}:license-configuration:*",
        ),
        when=_in_all_regions,
        wide="a clone is launched with what its original had, or what a person asks for",
    ),
    Right(
        actions=("ec2:CreateTags",),
        on=_on_ec2("instance", "network-interface", "volume"),
        when=_when_making("RunInstances"),
        wide="what is launched has no id before; it is tagged only in the making",
    ),
    Right(
        actions=("iam:PassRole",),
        on=lambda places: tuple(
            f"arn:{places.partition}:iam::{places.account}:role/{one}" for one in places.clone_roles
        ),
        when=lambda _: {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        wide="a clone has the role of its original, or what a person asks for: EC2 alone gets it, "
        "and the deployment may say which there may be (lastgood:clone_roles)",
    ),
)

TRY_LAUNCH = Grant(
    name="TRY_LAUNCH",
    reason="Asks EC2 whether it would launch a clone; IAM knows no right to ask and not to do it",
    rights=_LAUNCH,
)

LAUNCH_CLONES = Grant(
    name="LAUNCH_CLONES",
    reason="Launches clones; each, with its volumes and interfaces, must bear the tag of its "
    "restore, so that none can be an orphan",
    rights=_LAUNCH,
)

MAKE_VOLUMES = Grant(
    name="MAKE_VOLUMES",
    reason="Makes volumes of a point's snapshots; each must bear the tag of its restore",
    rights=(
        Right(
            actions=("ec2:CreateVolume",),
            on=_on_ec2("volume"),
            when=_with_restore,
            wide="a volume has no id before it is made; without a restore's tag it is not made",
        ),
        Right(
            actions=("ec2:CreateVolume",),
            on=lambda places: (places.snapshots,),
            when=_in_all_regions,
            each=lambda _: (OF_A_POINT, OF_A_RESTORE),
            wide="from which point, people say; only of a point's snapshots, or copies of them",
        ),
        Right(
            actions=("ec2:CreateTags",),
            on=_on_ec2("volume"),
            when=_when_making("CreateVolume"),
            wide="a volume has no id before it is made; it is tagged only in the making",
        ),
    ),
)


def _change_sources(*more: str) -> Right:
    return Right(
        actions=(
            "ec2:AttachVolume",
            "ec2:DetachVolume",
            "ec2:ModifyInstanceAttribute",
            "ec2:StartInstances",
            "ec2:StopInstances",
            *more,
        ),
        on=_on_ec2("instance"),
        when=_in_all_regions,
        each=_of_source_or_restore,
        wide="which instance, people say; only one with the tags of a policy or of a restore",
    )


_MOVE_VOLUMES = Right(
    actions=("ec2:AttachVolume", "ec2:DetachVolume"),
    on=_on_ec2("volume"),
    when=_in_all_regions,
    wide="volumes of a source need no tags of their own; the instance has to have its tags",
)

CHANGE_SOURCES = Grant(
    name="CHANGE_SOURCES",
    reason="Stops and starts an instance that is restored in place, and exchanges its volumes",
    rights=(
        _change_sources("ec2:CreateReplaceRootVolumeTask"),
        _MOVE_VOLUMES,
        Right(
            actions=("ec2:CreateReplaceRootVolumeTask",),
            on=_on_ec2("replace-root-volume-task"),
            when=_with_restore,
            wide="a task has no id before it is made; without a restore's tag it is not made",
        ),
        Right(
            actions=("ec2:CreateReplaceRootVolumeTask",),
            on=lambda places: (*_on_ec2("volume")(places), places.snapshots),
            when=_in_all_regions,
            wide="EC2 wants a snapshot of this very volume; the instance has to have its tags",
        ),
        Right(
            actions=("ec2:CreateTags",),
            on=_on_ec2("replace-root-volume-task"),
            when=_when_making("CreateReplaceRootVolumeTask"),
            wide="a task has no id before it is made; it is tagged only in the making",
        ),
    ),
)

PUT_BACK_SOURCES = Grant(
    name="PUT_BACK_SOURCES",
    reason="Gives an instance that was restored in place its volumes back, and starts it",
    rights=(_change_sources(), _MOVE_VOLUMES),
)

TAG_RESTORED = Grant(
    name="TAG_RESTORED",
    reason="Gives what a restore has made the tags of its original, and its network settings",
    rights=(
        Right(
            actions=("ec2:CreateTags",),
            on=_on_ec2("instance", "volume"),
            when=_of_restore,
            wide="what a restore made has no id before; without its tag nothing is touched",
        ),
        Right(
            actions=("ec2:ModifyNetworkInterfaceAttribute",),
            on=_on_ec2("network-interface"),
            when=_of_restore,
            wide="what a restore made has no id before; without its tag nothing is touched",
        ),
    ),
)

MARK_VOLUMES = Grant(
    name="MARK_VOLUMES",
    reason="Puts the tags of a restore on a volume that it swaps out, which will be removed later, "
    "and on the one that EC2 made for a root",
    rights=(
        Right(
            actions=("ec2:CreateTags",),
            on=_on_ec2("volume"),
            when=lambda places: _all_of(_with_restore(places), _only_tags(*tags.OF_RESTORE)),
            wide="any volume of a source may be swapped out; with the tags of a restore only",
        ),
    ),
)

UNMARK_VOLUMES = Grant(
    name="UNMARK_VOLUMES",
    reason="Takes the tags of a restore away from a volume that comes back to its source",
    rights=(
        Right(
            actions=("ec2:DeleteTags",),
            on=_on_ec2("volume"),
            when=lambda places: _all_of(_in_all_regions(places), _only_tags(*tags.OF_RESTORE)),
            wide="any volume of a source may be swapped out; no other tags than these may go",
        ),
    ),
)

KEEP_RESTORED = Grant(
    name="KEEP_RESTORED",
    reason="Takes from a clone that is to stay the tag that says that it will be removed",
    rights=(
        Right(
            actions=("ec2:DeleteTags",),
            on=_on_ec2("instance", "volume"),
            when=lambda places: _all_of(_of_restore(places), _only_tags(tags.TEMPORARY)),
            wide="which clone, people say; the tag of a time to live is the only one it may touch",
        ),
    ),
)

_MADE = "what a restore made shows at run time; without its tag nothing goes"

CLEAR_UP = Grant(
    name="CLEAR_UP",
    reason="Removes what a restore has made on its way, or swapped out, once it is not needed",
    rights=(
        Right(actions=("ec2:DeleteVolume",), on=_on_ec2("volume"), when=_of_restore, wide=_MADE),
        Right(
            actions=("ec2:DeregisterImage",),
            on=lambda places: (places.images,),
            when=_of_restore,
            wide=_MADE,
        ),
        Right(
            actions=("ec2:DeleteSnapshot",),
            on=lambda places: (places.snapshots,),
            when=lambda places: _all_of(
                _own(places, _all_regions(places)),
                OF_A_RESTORE,
                # EC2 gives the snapshots of what was restored its tags: they are not the copies
                # that the restore made.
                {"Null": {f"aws:ResourceTag/{tags.COPY_OF}": "false"}},
                {"Null": {f"aws:ResourceTag/{tags.POINT}": "true"}},
                {"Null": {f"aws:ResourceTag/{tags.HOLD}": "true"}},
            ),
            wide=_MADE,
        ),
    ),
)

UNDO_RESTORES = Grant(
    name="UNDO_RESTORES",
    reason="Terminates what a restore has launched: it failed, or its time is over",
    rights=(
        Right(
            actions=("ec2:TerminateInstances",),
            on=_on_ec2("instance"),
            when=_of_restore,
            wide=_MADE,
        ),
    ),
)

SEE_AGENTS = Grant(
    name="SEE_AGENTS",
    reason="Sees whether SSM reaches an instance before it is restored in place",
    rights=(
        Right(
            actions=("ssm:DescribeInstanceInformation",),
            on=_all,
            when=_in_all_regions,
            wide="it knows no resources; the condition keeps it to the policies' Regions",
        ),
    ),
)

RUN_CHECKS = Grant(
    name="RUN_CHECKS",
    reason="Runs the command on what was restored that a person gave, and reads what it wrote",
    rights=(
        Right(
            actions=("ssm:SendCommand",),
            on=lambda places: (
                f"arn:{places.partition}:ssm:*:{places.account}:document/*",
                f"arn:{places.partition}:ssm:*::document/*",
            ),
            when=_in_all_regions,
            wide="people name the document, of theirs or of AWS",
        ),
        Right(
            actions=("ssm:SendCommand",),
            on=_on_ec2("instance"),
            when=_in_all_regions,
            each=_of_source_or_restore,
            wide="which instance, people say; only one with the tags of a policy or of a restore",
        ),
        Right(
            actions=("ssm:DescribeInstanceInformation", "ssm:GetCommandInvocation"),
            on=_all,
            when=_in_all_regions,
            wide="these know no resources; the condition keeps them to the policies' Regions",
        ),
    ),
)

# The ledger. A transaction needs the rights of the writes that it is made of.

# On the table's key, by way of DynamoDB only ("Using a customer managed key", DynamoDB).
_LEDGER_KEY = Right(
    actions=(
        "kms:Decrypt",
        "kms:DescribeKey",
        "kms:Encrypt",
        "kms:GenerateDataKey",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
    ),
    on=lambda places: (places.key,),
    when=_via("dynamodb"),
)


def _partition(key: str) -> str:
    """All keys that begin as ``key`` does: ``POINT#*``."""
    return f"{key.partition('#')[0]}#*"


POINTS = _partition(keys.point("")["pk"])
RUNS = _partition(keys.run("")["pk"])
SOURCES = _partition(keys.sources_of("", 0))
LAUNCHES = _partition(keys.launch("", "")["pk"])
TOLD = _partition(keys.notice("")["pk"])
HOLDS = _partition(keys.hold("")["pk"])
PLANS = _partition(keys.plan("")["pk"])
PLACES = _partition(keys.slots(Place(region="", account=""))["pk"])
COPIES = _partition(keys.copies_to(Place(region="", account="")))
RESTORES = _partition(keys.restore("")["pk"])
LOCKS = _partition(keys.restoring("")["pk"])
NAMES = _partition(keys.name("")["pk"])
CHATS = _partition(keys.conversation("")["pk"])
REFUSALS = _partition(keys.chat_refusal(datetime.min.replace(tzinfo=UTC), "")["pk"])


def _items(
    actions: tuple[str, ...],
    *partitions: str,
    index: str = "",
    where: Callable[[Places], object] = lambda _: True,
) -> Right:
    """On those of the table's or the index's items whose partition key is like one of these.

    A condition for all values holds for none as well: so there has to be one ("Using IAM policy
    conditions for fine-grained access control", DynamoDB Developer Guide).
    """
    conditions: Conditions = {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": list(partitions)},
        "Null": {"dynamodb:LeadingKeys": "false"},
    }
    return Right(
        actions=tuple(f"dynamodb:{action}" for action in actions),
        on=lambda places: (
            (f"{places.table}/index/{index}" if index else places.table,) if where(places) else ()
        ),
        when=lambda _: conditions,
    )


RECORD_RUNS = Grant(
    name="RECORD_RUNS",
    reason="Opens a run in the ledger, and records what was planned in it",
    rights=(_items(("GetItem", "PutItem", "UpdateItem"), RUNS), _LEDGER_KEY),
)

FORESEE_COPIES = Grant(
    name="FORESEE_COPIES",
    reason="Reads, for a dry run, which copies a source has: the next is incremental to the newest",
    rights=(
        _items(
            ("Query",),
            _partition(keys.copies_of("", Place(region="", account=""))),
            index=keys.LISTING,
        ),
    ),
)

RECORD_POINTS = Grant(
    name="RECORD_POINTS",
    reason="Claims a point in the ledger before it is taken, records what EC2 answered, and counts "
    "in its run what could not be taken; remembers the Names of sources",
    rights=(
        _items(("GetItem",), POINTS, LAUNCHES, NAMES),
        _items(("PutItem",), POINTS, RUNS, LAUNCHES, NAMES),
        _items(("UpdateItem",), POINTS, RUNS, SOURCES),
        _LEDGER_KEY,
    ),
)

SETTLE_POINTS = Grant(
    name="SETTLE_POINTS",
    settings=("members",),
    reason="Finds the point of a snapshot that ended, and records how the point ended",
    rights=(
        _items(("GetItem",), POINTS),
        _items(("PutItem",), POINTS, RUNS),
        _items(("UpdateItem",), POINTS, RUNS, SOURCES),
        _items(("Query",), "snap-*", index=keys.BY_SNAPSHOT),
        _LEDGER_KEY,
    ),
)

MEND_LEDGER = Grant(
    name="MEND_LEDGER",
    reason="Reads what is in flight, what ran, what is protected and what is copied; settles, "
    "gives up and rebuilds points, with the Names of their sources; notes of what people were told",
    rights=(
        _items(("BatchGetItem",), POINTS),
        _items(("DeleteItem",), POINTS),
        _items(("GetItem",), POINTS, TOLD, NAMES),
        _items(("PutItem",), POINTS, RUNS, TOLD, NAMES, keys.POLICIES),
        _items(("UpdateItem",), POINTS, RUNS, SOURCES),
        _items(("Query",), RUNS, SOURCES, keys.POLICIES),
        _items(
            ("Query",),
            _partition(keys.runs_of("")),
            _partition(keys.points_of("")),
            _partition(keys.copies_of("", Place(region="", account=""))),
            index=keys.LISTING,
        ),
        _items(("Query",), _partition(keys.flight(0)), keys.DOUBT, COPIES, index=keys.IN_FLIGHT),
        _LEDGER_KEY,
    ),
)

_LIST_POINTS = _items(
    ("Query",),
    _partition(keys.points_of("")),
    _partition(keys.copies_of("", Place(region="", account=""))),
    index=keys.LISTING,
)

PLAN_PRUNES = Grant(
    name="PLAN_PRUNES",
    reason="Reads what each source has, and which of it is held; holds and releases; records plans "
    "and what became of them",
    rights=(
        _items(("BatchGetItem", "DeleteItem"), HOLDS),
        _items(("GetItem",), POINTS, PLANS, TOLD),
        _items(("PutItem",), HOLDS, PLANS, TOLD, keys.POLICIES),
        _items(("UpdateItem",), POINTS),
        _items(("Query",), POINTS, SOURCES, PLANS, keys.POLICIES),
        _LIST_POINTS,
        _items(("Query",), "snap-*", index=keys.BY_SNAPSHOT),
        _LEDGER_KEY,
    ),
)

RECORD_DELETES = Grant(
    name="RECORD_DELETES",
    reason="Sees that a plan still holds for its points, and that their copies are there; records "
    "that they expire and are deleted",
    rights=(
        _items(("ConditionCheckItem",), HOLDS, POINTS),
        _items(("GetItem",), POINTS, PLANS),
        _items(("Query",), POINTS),
        _items(("PutItem",), POINTS, PLANS),
        _items(("UpdateItem",), POINTS),
        _LIST_POINTS,
        _LEDGER_KEY,
    ),
)

REPLACE_MEMBERS = Grant(
    name="REPLACE_MEMBERS",
    reason="Makes an encrypted copy in place the member of a point, unless that is held, or a "
    "restore is made from it",
    rights=(
        _items(("BatchGetItem",), HOLDS, where=_encrypting),
        _items(("ConditionCheckItem",), POINTS, where=_encrypting),
        _items(("UpdateItem",), POINTS, where=_encrypting),
    ),
)

REMOVE_UNENCRYPTED = Grant(
    name="REMOVE_UNENCRYPTED",
    reason="Deletes a snapshot of a point, of which an encrypted copy has taken the place",
    rights=(
        Right(
            actions=("ec2:DeleteSnapshot",),
            on=lambda places: places.snapshots_in(places.encrypting),
            when=_in_encrypting_regions_of_an_original_without_hold,
            wide="which members are not encrypted shows at run time; without the tag of a point, "
            "or with that of a hold, nothing goes",
        ),
    ),
)

RECORD_COPIES = Grant(
    name="RECORD_COPIES",
    reason="Reads a point that is to be copied; records its copies, and who holds a slot",
    rights=(
        _items(("GetItem",), POINTS, PLACES),
        _items(("BatchGetItem", "PutItem"), POINTS),
        _items(("UpdateItem",), PLACES),
        _items(("Query",), POINTS),
        _items(("Query",), COPIES, index=keys.IN_FLIGHT),
        _LEDGER_KEY,
    ),
)

OPEN_RESTORES = Grant(
    name="OPEN_RESTORES",
    reason="Finds the source and the point that a person means; opens a restore, reads and changes "
    "those that there are",
    rights=(
        _items(("BatchGetItem",), RESTORES),
        _items(("GetItem",), POINTS, RESTORES, LOCKS),
        _items(("PutItem",), RESTORES, LOCKS),
        _items(("Query",), NAMES),
        _items(
            ("Query",),
            _partition(keys.points_of("")),
            _partition(keys.copies_of("", Place(region="", account=""))),
            _partition(keys.restores_of("")),
            index=keys.LISTING,
        ),
        _LEDGER_KEY,
    ),
)

RECORD_RESTORES = Grant(
    name="RECORD_RESTORES",
    reason="Reads a restore and its point; records what it made and how far it is; lets go of its "
    "point and its instance",
    rights=(
        _items(("GetItem",), RESTORES, POINTS, LOCKS),
        _items(("PutItem",), RESTORES),
        _items(("DeleteItem",), LOCKS),
        _items(("UpdateItem",), POINTS),
        _LEDGER_KEY,
    ),
)

KEEP_POINTS = Grant(
    name="KEEP_POINTS",
    reason="Keeps a point that is there from being deleted while something is made from it",
    rights=(_items(("ConditionCheckItem",), POINTS),),
)

RECORD_CHECKS = Grant(
    name="RECORD_CHECKS",
    reason="Reads a restore, and records what a check of it found",
    rights=(_items(("GetItem", "PutItem"), RESTORES), _LEDGER_KEY),
)

NOTE_REQUESTS = Grant(
    name="NOTE_REQUESTS",
    reason="Notes each request of chat, so that it counts once, who was refused what, and where to "
    "tell of a restore; reads who asked for one",
    rights=(
        _items(("PutItem",), CHATS, REFUSALS),
        _items(("GetItem", "UpdateItem"), CHATS),
        _LEDGER_KEY,
    ),
)

TELL_RESTORES = Grant(
    name="TELL_RESTORES",
    reason="Reads where to tell of a restore, and notes what was told",
    rights=(_items(("GetItem", "UpdateItem"), CHATS), _LEDGER_KEY),
)

MEND_RESTORES = Grant(
    name="MEND_RESTORES",
    reason="Reads the restores that are under way, or that are to end",
    rights=(
        _items(("BatchGetItem",), RESTORES),
        _items(("Query",), keys.RESTORES, index=keys.IN_FLIGHT),
    ),
)

# Plans

STORE_PLANS = Grant(
    name="STORE_PLANS",
    settings=("plans",),
    reason="Stores the whole plan of a prune, for people and for who applies it",
    rights=(
        Right(
            actions=("s3:PutObject",),
            on=lambda places: (f"{places.plans}/plans/*",),
            wide="an object for each part of each plan",
        ),
        Right(actions=("kms:GenerateDataKey",), on=lambda places: (places.key,), when=_via("s3")),
    ),
)

READ_PLANS = Grant(
    name="READ_PLANS",
    settings=("plans",),
    reason="Reads the part of a plan that it is to apply",
    rights=(
        Right(
            actions=("s3:GetObject",),
            on=lambda places: (f"{places.plans}/plans/*",),
            wide="an object for each part of each plan",
        ),
        Right(actions=("kms:Decrypt",), on=lambda places: (places.key,), when=_via("s3")),
    ),
)

# Queues. A producer needs the key to encrypt, a consumer to decrypt (SQS, "Key management").

_KEY_TO_SEND = Right(
    actions=("kms:Decrypt", "kms:GenerateDataKey"),
    on=lambda places: (places.key,),
    when=_via("sqs"),
)
_KEY_TO_RECEIVE = Right(
    actions=("kms:Decrypt",),
    on=lambda places: (places.key,),
    when=_via("sqs"),
)


def _taking(on: Where) -> Where:
    """Only in the Region that takes points."""
    return lambda places: on(places) if places.take_queue else ()


SEND_TAKE_REQUESTS = Grant(
    name="SEND_TAKE_REQUESTS",
    settings=("take_queue",),
    reason="Asks for a point of a source",
    rights=(
        Right(actions=("sqs:SendMessage",), on=lambda places: (places.take_queue,)),
        _KEY_TO_SEND,
    ),
)

TAKE_SAFETY_POINTS = Grant(
    name="TAKE_SAFETY_POINTS",
    settings=("take_queue",),
    reason="Asks for a point of a source before it is changed in place, where that is done",
    rights=(
        Right(actions=("sqs:SendMessage",), on=_taking(lambda places: (places.take_queue,))),
        Right(
            actions=("kms:Decrypt", "kms:GenerateDataKey"),
            on=_taking(lambda places: (places.key,)),
            when=_via("sqs"),
        ),
        _items(("PutItem", "UpdateItem"), RUNS, where=lambda places: places.take_queue),
    ),
)

SEND_PRUNE_MESSAGES = Grant(
    name="SEND_PRUNE_MESSAGES",
    settings=("prune_queue",),
    reason="Asks for a part of a plan to be applied, or for the rest of it",
    rights=(
        Right(actions=("sqs:SendMessage",), on=lambda places: (places.prune_queue,)),
        _KEY_TO_SEND,
    ),
)

SEND_COPY_REQUESTS = Grant(
    name="SEND_COPY_REQUESTS",
    settings=("copy_queue",),
    reason="Has the places looked after to which points are copied",
    rights=(
        Right(actions=("sqs:SendMessage",), on=lambda places: (places.copy_queue,)),
        _KEY_TO_SEND,
    ),
)

CONSUME_QUEUE = Grant(
    name="CONSUME_QUEUE",
    reason="Lambda reads the function's queue under its role; the function postpones messages",
    rights=(
        Right(
            actions=(
                "sqs:ChangeMessageVisibility",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:ReceiveMessage",
            ),
            on=lambda places: (places.queue,),
        ),
        _KEY_TO_RECEIVE,
    ),
)

BURY = Grant(
    name="BURY",
    reason="Puts what cannot be handled among the function's own dead letters",
    rights=(
        Right(actions=("sqs:SendMessage",), on=lambda places: (places.dead_letters,)),
        _KEY_TO_SEND,
    ),
)

# What else functions do

ANNOUNCE = Grant(
    name="ANNOUNCE",
    reason="Tells subscribers that a point is available or has failed, or how a restore goes",
    rights=(Right(actions=("events:PutEvents",), on=lambda places: (places.bus,)),),
)

TELL_PEOPLE = Grant(
    name="TELL_PEOPLE",
    settings=("topic",),
    reason="Tells people of what they should know or mend",
    rights=(
        Right(actions=("sns:Publish",), on=lambda places: (places.topic,)),
        # As who sends to a queue ("Key management", SNS Developer Guide).
        Right(
            actions=("kms:Decrypt", "kms:GenerateDataKey"),
            on=lambda places: (places.key,),
            when=_via("sns"),
        ),
    ),
)

ASK_PLANNER = Grant(
    name="ASK_PLANNER",
    settings=("planner",),
    reason="Has a slot planned that nobody planned, or planned to its end",
    rights=(Right(actions=("lambda:InvokeFunction",), on=lambda places: (places.planner,)),),
)

ASK_PRUNER = Grant(
    name="ASK_PRUNER",
    settings=("pruner",),
    reason="Has the pruning of each policy planned in an invocation of its own, and to its end",
    rights=(Right(actions=("lambda:InvokeFunction",), on=lambda places: (places.pruner,)),),
)

# The restore state machine

START_RESTORES = Grant(
    name="START_RESTORES",
    settings=("machine",),
    reason="Starts the machine that works at a restore",
    rights=(Right(actions=("states:StartExecution",), on=lambda places: (places.machine,)),),
)

SEE_EXECUTIONS = Grant(
    name="SEE_EXECUTIONS",
    reason="Sees whether anybody works at a restore",
    rights=(
        Right(actions=("states:ListExecutions",), on=lambda places: (places.machine,)),
        Right(
            actions=("states:DescribeExecution",),
            on=lambda places: (places.executions,),
            wide="the executions of one machine",
        ),
    ),
)

_WAITING = "these know no resources: the token, which only the ledger has, says which"

APPROVE_RESTORES = Grant(
    name="APPROVE_RESTORES",
    reason="Lets the machine go on that waits for a second person, by the token that it waits with",
    rights=(Right(actions=("states:SendTaskSuccess",), on=_all, wide=_WAITING),),
)

DECLINE_RESTORES = Grant(
    name="DECLINE_RESTORES",
    reason="Ends the wait of the machine for a second person, who said no",
    rights=(Right(actions=("states:SendTaskFailure",), on=_all, wide=_WAITING),),
)

_ENDING = "a schedule for each restore, in a group that has no others"

END_RESTORES = Grant(
    name="END_RESTORES",
    settings=("machine", "endings", "ending_role", "ending_letters"),
    reason="Has what a restore made ended at its time, by a schedule",
    rights=(
        Right(
            actions=("scheduler:CreateSchedule", "scheduler:UpdateSchedule"),
            on=lambda places: (places.endings,),
            wide=_ENDING,
        ),
        Right(
            actions=("iam:PassRole",),
            on=lambda places: (places.ending_role,),
            when=lambda _: {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}},
        ),
    ),
)

CLEAR_ENDINGS = Grant(
    name="CLEAR_ENDINGS",
    settings=("endings",),
    reason="Takes back the schedule of what stays, or is gone already",
    rights=(
        Right(
            actions=("scheduler:DeleteSchedule",),
            on=lambda places: (places.endings,),
            wide=_ENDING,
        ),
    ),
)

ASK_CLONER = Grant(
    name="ASK_CLONER",
    settings=("cloner",),
    reason="Has a restore begun that a person may ask for, or says what became of one",
    rights=(Right(actions=("lambda:InvokeFunction",), on=lambda places: (places.cloner,)),),
)

ASK_ABOUT_POINTS = Grant(
    name="ASK_ABOUT_POINTS",
    settings=("pruner",),
    reason="Has it explained which points a source has, and why",
    rights=(Right(actions=("lambda:InvokeFunction",), on=lambda places: (places.pruner,)),),
)

READ_CHAT = Grant(
    name="READ_CHAT",
    settings=("chat", "secret"),
    reason="Reads who may ask for what, and the secret that Slack signs its requests with",
    rights=(
        Right(actions=("ssm:GetParameter",), on=lambda places: (places.chat,)),
        Right(actions=("secretsmanager:GetSecretValue",), on=lambda places: (places.secret,)),
        Right(
            actions=("kms:Decrypt",), on=lambda places: (places.key,), when=_via("secretsmanager")
        ),
    ),
)

_LIST_POLICIES = Right(actions=("ssm:GetParametersByPath",), on=lambda places: (places.parameters,))

LIST_POLICIES = Grant(
    name="LIST_POLICIES", reason="Reads every policy that is deployed", rights=(_LIST_POLICIES,)
)

READ_POLICIES = Grant(
    name="READ_POLICIES",
    reason="Reads the policy that a schedule or a person names; names those that there are",
    rights=(
        Right(
            actions=("ssm:GetParameter",),
            on=lambda places: (f"{places.parameters}/*",),
            wide="one parameter a policy, and policies come and go",
        ),
        _LIST_POLICIES,
    ),
)

WRITE_LOGS = Grant(
    name="WRITE_LOGS",
    reason="Writes the function's own log, whose group the stack has made",
    rights=(
        Right(
            actions=("logs:CreateLogStream", "logs:PutLogEvents"),
            on=lambda places: (f"{places.log_group}:*",),
            wide="Lambda names the log streams of a group",
        ),
    ),
)

# What AWS services do for us

START = Grant(
    name="START",
    reason="A schedule invokes its function, and puts what it could not invoke among the "
    "function's dead letters",
    rights=(
        Right(actions=("lambda:InvokeFunction",), on=lambda places: (places.function,)),
        *BURY.rights,
    ),
)

START_ENDINGS = Grant(
    name="START_ENDINGS",
    reason="A schedule has what a restore made ended, and puts what it could not start among the "
    "dead letters of endings",
    rights=(
        Right(actions=("states:StartExecution",), on=lambda places: (places.machine,)),
        *BURY.rights,
    ),
)

TAKE_STEPS = Grant(
    name="TAKE_STEPS",
    reason="The machine invokes the functions that do its steps",
    rights=(Right(actions=("lambda:InvokeFunction",), on=lambda places: places.steps),),
)

LOG_EXECUTIONS = Grant(
    name="LOG_EXECUTIONS",
    reason="Step Functions has the machine's log delivered (Step Functions Developer Guide, "
    '"Logging using CloudWatch Logs")',
    rights=(
        Right(
            actions=(
                "logs:CreateLogDelivery",
                "logs:DeleteLogDelivery",
                "logs:DescribeLogGroups",
                "logs:DescribeResourcePolicies",
                "logs:GetLogDelivery",
                "logs:ListLogDeliveries",
                "logs:PutResourcePolicy",
                "logs:UpdateLogDelivery",
            ),
            on=_all,
            wide="deliveries of logs know no resources",
        ),
    ),
)

FORWARD_EVENTS = Grant(
    name="FORWARD_EVENTS",
    reason="A rule of another Region sends EBS's events to the bus that Lastgood listens to",
    rights=(Right(actions=("events:PutEvents",), on=lambda places: (places.bus,)),),
)


def _from_rule(places: Places) -> Conditions:
    rules = places.rules
    return {"ArnEquals": {"aws:SourceArn": rules[0] if len(rules) == 1 else list(rules)}}


FORWARDED_EVENTS = Grant(
    name="FORWARDED_EVENTS",
    reason="An account of sources or copies sends EBS's events, and no others, to the bus",
    rights=(
        Right(
            actions=("events:PutEvents",),
            on=lambda places: (places.bus,),
            when=lambda _: {"StringEquals": {"events:source": "aws.ec2"}},
        ),
    ),
)

RECEIVE_EVENTS = Grant(
    name="RECEIVE_EVENTS",
    reason="The rules for the function's events, and no others, put them into the queue",
    to="events.amazonaws.com",
    rights=(
        Right(actions=("sqs:SendMessage",), on=lambda places: (places.queue,), when=_from_rule),
    ),
)


def _from_alarms(places: Places) -> Conditions:
    return {
        "StringEquals": {"aws:SourceAccount": places.account},
        "ArnLike": {
            "aws:SourceArn": f"arn:{places.partition}:cloudwatch:{places.region}:{places.account}"
            ":alarm:lastgood-*"
        },
    }


RECEIVE_ALARMS = Grant(
    name="RECEIVE_ALARMS",
    reason="Lastgood's alarms, and no others, are told on the topic",
    to="cloudwatch.amazonaws.com",
    rights=(Right(actions=("sns:Publish",), on=lambda places: (places.topic,), when=_from_alarms),),
)

ITSELF = "in a key's policy, * is the key itself"


def _of_this_account(places: Places) -> Conditions:
    # Not by rule, alarm or topic: the key is older than all of them, and outlives them.
    return {"StringEquals": {"aws:SourceAccount": places.account}}


_KEY_FOR_ACCOUNT = Right(
    actions=("kms:Decrypt", "kms:GenerateDataKey"), on=_all, when=_of_this_account, wide=ITSELF
)

EVENTS_USE_KEY = Grant(
    name="EVENTS_USE_KEY",
    reason="EventBridge encrypts what it puts into our queues",
    to="events.amazonaws.com",
    rights=(_KEY_FOR_ACCOUNT,),
)

ALARMS_USE_KEY = Grant(
    name="ALARMS_USE_KEY",
    reason="CloudWatch encrypts what its alarms say on our topic",
    to="cloudwatch.amazonaws.com",
    rights=(_KEY_FOR_ACCOUNT,),
)


def _log_groups(places: Places) -> list[str]:
    """Of functions, and of the restore state machine."""
    groups = f"arn:{places.partition}:logs:{places.region}:{places.account}:log-group"
    return [f"{groups}:/aws/lambda/lastgood-*", f"{groups}:{STATES_LOG}"]


STATES_LOG = "/aws/vendedlogs/states/lastgood-restore"


def logs_use_key(region: str) -> Grant:
    """CloudWatch Logs is a principal of its Region."""
    return Grant(
        name="LOGS_USE_KEY",
        reason="CloudWatch Logs encrypts our log groups, and no others, with the key",
        to=f"logs.{region}.amazonaws.com",
        rights=(
            Right(
                actions=(
                    "kms:Decrypt",
                    "kms:DescribeKey",
                    "kms:Encrypt",
                    "kms:GenerateDataKey",
                    "kms:GenerateDataKeyWithoutPlaintext",
                    "kms:ReEncryptFrom",
                    "kms:ReEncryptTo",
                ),
                on=_all,
                when=lambda places: {
                    "ArnLike": {"kms:EncryptionContext:aws:logs:arn": _log_groups(places)}
                },
                wide=ITSELF,
            ),
        ),
    )


WHERE_SOURCES_ARE = (
    READ_FLEET,
    READ_LAUNCH_ATTRIBUTES,
    FIND_SNAPSHOTS,
    TAKE_SNAPSHOTS,
    REMOVE_SURPLUS,
    SHARE_SNAPSHOTS,
    REMOVE_UNENCRYPTED,
)
WHERE_COPIES_ARE = (
    FIND_COPIES,
    COPY_SNAPSHOTS,
    USE_COPY_KEYS,
    READ_COPY_KEYS,
    REMOVE_COPIES,
)
WHERE_EITHER_IS = (JUDGE_SNAPSHOTS, HOLD_SNAPSHOTS, DELETE_SNAPSHOTS)


def abroad(grants: Sequence[Grant], places: Places) -> tuple[Grant, ...]:
    """Those of a function's grants that its role in another account has: all that are on EC2, for
    what is there."""
    wanted = (
        *(WHERE_SOURCES_ARE if places.regions else ()),
        *(WHERE_COPIES_ARE if places.destinations else ()),
        *WHERE_EITHER_IS,
    )
    return tuple(one for one in grants if one in wanted)


def document(grants: Sequence[Grant], places: Places) -> iam.PolicyDocument:
    return iam.PolicyDocument(
        statements=[one for grant in grants for one in grant.statements(places)]
    )
