"""The launch of a clone: what RunInstances is told, of a manifest and what a person changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lastgood.domain.manifest import Options, Tags


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A volume to be made of a snapshot. ``device``: None if it is attached to nothing.

    ``piece`` is the original volume's id, by which the snapshot is found once it is here.
    ``kms_key``: under which it is encrypted; None: as its snapshot is. ``tags``: of the original.
    """

    piece: str
    device: str | None
    type: str
    size_gib: int
    iops: int | None = None
    throughput: int | None = None
    kms_key: str | None = None
    encrypted: bool = False
    multi_attach: bool = False
    delete_on_termination: bool = True
    root: bool = False
    tags: Tags = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A network interface to be made. ``private_ip``: None for one that the subnet has free;
    ``more_ips``: how many addresses beside it."""

    device_index: int
    network_card: int
    subnet: str
    groups: tuple[str, ...]
    private_ip: str | None = None
    more_ips: int = 0
    ipv6: int = 0
    description: str = ""
    type: str = "interface"
    delete_on_termination: bool = True
    source_dest_check: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NewImage:
    """What an image is registered with, so that an instance starts from the point's root."""

    architecture: str
    root_device: str
    virtualization: str = "hvm"
    boot_mode: str | None = None
    ena: bool = True
    sriov: str | None = None
    tpm: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Everything of a new instance. Names of options are those of RunInstances.

    ``image``: that of the source, if its licence is billed through it; then the root is swapped
    after the launch, and ``unmapped`` are the devices of the image that are left out. None: an
    image is registered of the snapshots, as ``new_image`` says. The user data of one whose root is
    swapped is set with that: what the image has on its root is not what it is for.
    """

    type: str
    zone: str
    vpc: str
    root_device: str
    disks: tuple[Disk, ...]
    cards: tuple[Card, ...]
    count: int = 1
    started: bool = True
    image: str | None = None
    unmapped: tuple[str, ...] = ()
    new_image: NewImage | None = None
    instance_profile: str | None = None
    key_name: str | None = None
    user_data: str | None = None
    monitoring: bool = False
    ebs_optimized: bool = False
    hibernation: bool = False
    enclave: bool = False
    termination_protection: bool = False
    stop_protection: bool = False
    shutdown_behavior: str | None = None
    credit_mode: str | None = None
    placement: Options = field(default_factory=dict)
    cpu_options: Options = field(default_factory=dict)
    metadata_options: Options = field(default_factory=dict)
    private_dns_options: Options = field(default_factory=dict)
    maintenance_options: Options = field(default_factory=dict)
    licenses: tuple[str, ...] = ()
    tags: Tags = field(default_factory=dict)

    @property
    def root(self) -> Disk:
        return next(one for one in self.disks if one.root)

    @property
    def protected_last(self) -> bool:
        """It is protected from being stopped only once it is made: on the way it is stopped."""
        return self.stop_protection and (self.swaps_root or not self.started)

    @property
    def swaps_root(self) -> bool:
        return self.image is not None


Snapshots = Mapping[str, str]
"""By the id of the original volume, its snapshot in the place of the launch."""
