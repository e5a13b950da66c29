"""The manifest: what is needed to launch a source again, captured when its point is taken."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from lastgood.domain.tags import NAME

Tags = Mapping[str, str]

Scalar = str | int | bool
Options = Mapping[str, Scalar]
"""Settings under the names that RunInstances has for them, as EC2 gave them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """``device`` is the name the instance was given, such as ``/dev/sda1``."""

    instance: str
    device: str
    delete_on_termination: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume as EC2 describes it. ``throughput`` is MiB/s; None where the type has none."""

    id: str
    type: str
    size_gib: int
    state: str
    zone: str
    encrypted: bool
    iops: int | None = None
    throughput: int | None = None
    kms_key: str | None = None
    multi_attach: bool = False
    attachments: tuple[Attachment, ...] = ()
    tags: Tags = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A network interface. ``private_ips`` begins with the primary address."""

    id: str
    device_index: int
    network_card: int
    subnet: str
    groups: tuple[str, ...]
    private_ips: tuple[str, ...]
    ipv6: tuple[str, ...] = ()
    description: str = ""
    type: str = "interface"
    source_dest_check: bool = True
    delete_on_termination: bool = True
    public_ip: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """An instance as EC2 describes it, in one call for a whole page of them.

    ``volumes`` are the ids of its EBS volumes by device. An option that EC2 adds to one of the
    ``Options`` is kept without a change here.
    """

    id: str
    state: str
    type: str
    image: str
    architecture: str
    launched_at: datetime
    zone: str
    root_device: str | None
    hibernation: bool
    volumes: Mapping[str, str] = field(default_factory=dict)
    tags: Tags = field(default_factory=dict)
    vpc: str | None = None
    subnet: str | None = None
    groups: tuple[str, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    instance_profile: str | None = None
    key_name: str | None = None
    boot_mode: str | None = None
    virtualization: str | None = None
    ena: bool | None = None
    sriov: str | None = None
    platform: str | None = None
    usage_operation: str | None = None
    lifecycle: str | None = None
    tpm: str | None = None
    monitoring: str | None = None
    ebs_optimized: bool = False
    placement: Options = field(default_factory=dict)
    cpu_options: Options = field(default_factory=dict)
    metadata_options: Options = field(default_factory=dict)
    private_dns_options: Options = field(default_factory=dict)
    maintenance_options: Options = field(default_factory=dict)
    enclave: bool = False
    licenses: tuple[str, ...] = ()
    capacity_reservation: str | None = None

    @property
    def gone(self) -> bool:
        """It is terminated, or will be in a moment; nobody can bring it back."""
        return self.state in ("shutting-down", "terminated")

    @property
    def root_volume(self) -> str | None:
        return self.volumes.get(self.root_device or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchAttributes:
    """What EC2 tells only one instance at a time.

    ``user_data`` is base64. It can change only while the instance is stopped, and a start gives
    a new launch time: so what was read for ``launched_at`` holds until the next start.
    """

    read_at: datetime
    launched_at: datetime
    user_data: str | None = None
    shutdown_behavior: str | None = None
    credit_mode: str | None = None
    termination_protection: bool = False
    stop_protection: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All of a source. ``taken_elsewhere``: a shared volume's id and the point that has it."""

    captured_at: datetime
    volumes: tuple[Volume, ...]
    instance: Instance | None = None
    launch: LaunchAttributes | None = None
    taken_elsewhere: Mapping[str, str] = field(default_factory=dict)

    @property
    def tags(self) -> Tags:
        """Those of the source: the instance, or the lone volume."""
        lone = self.volumes[0].tags if self.volumes else {}
        return self.instance.tags if self.instance else lone

    @property
    def name(self) -> str:
        """That of the source; empty if it has none."""
        return self.tags.get(NAME, "")


MOST_TAG_BYTES = 200_000
"""Of all tags in one manifest: half of what a DynamoDB item may hold. Only dozens of volumes,
each with dozens of the longest tags, come near."""


def trimmed(manifest: Manifest) -> Manifest:
    """Without the volumes' tags, if they are too many for the ledger; their snapshots bear them."""
    size = sum(
        len(key.encode()) + len(value.encode())
        for volume in manifest.volumes
        for key, value in volume.tags.items()
    )
    if size <= MOST_TAG_BYTES:
        return manifest
    return replace(manifest, volumes=tuple(replace(volume, tags={}) for volume in manifest.volumes))
