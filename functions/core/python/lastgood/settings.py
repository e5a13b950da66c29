"""What the stack tells its functions. The only reader of the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from lastgood.errors import CallRefused

PREFIX = "LASTGOOD_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One environment variable a field, ``LASTGOOD_`` and the field's name in capitals.

    ``queue``, ``dead_letters``: URLs of the queue that feeds the function and of that which
    takes what it cannot handle. ``take_queue``: where requests to take a point go. ``planner``:
    the name of the function that plans. ``topic``: the ARN of the topic on which people are
    told. ``pruner``: the name of the function that plans what to prune. ``prune_queue``: where
    parts of such plans go. ``plans``: the name of the bucket that stores them. ``copy_queue``:
    where places go whose copies are to be looked after. ``accounts``: those of the places that
    copies go to, with commas; ``members``: those that sources are in. ``function``: its own name,
    by which its roles in other accounts are named; ``external_id``: what those ask for.
    ``machine``: the ARN of the restore state machine. ``endings``: the group of the schedules that
    start it when a time to live is over; ``ending_role``, ``ending_letters``: the ARNs of the role
    by which they do, and of the queue that takes what could not be started. ``cloner``: the name
    of the function that people ask for restores. ``home``: the Region of the stack that takes
    points, where this is one of those that only restore. ``chat``: the name of the SSM parameter
    that says who may ask for what by chat; ``secret``: the name of the secret that Slack signs
    with; ``slack_hooks``: how every URL begins that messages may be sent to.
    ``policies``: the path of the SSM parameters. ``timeout``: the function's, in seconds.
    ``receives``: how often a message is delivered before it is given up. ``workers``: how many
    batches of messages are handled at one time, at most.
    """

    account: str
    region: str
    table: str
    bus: str
    policies: str
    timeout: str
    queue: str = ""
    dead_letters: str = ""
    take_queue: str = ""
    planner: str = ""
    topic: str = ""
    pruner: str = ""
    prune_queue: str = ""
    copy_queue: str = ""
    plans: str = ""
    accounts: str = ""
    members: str = ""
    function: str = ""
    external_id: str = ""
    machine: str = ""
    endings: str = ""
    ending_role: str = ""
    ending_letters: str = ""
    cloner: str = ""
    home: str = ""
    chat: str = ""
    secret: str = ""
    slack_hooks: str = "https://hooks.slack.com/"
    receives: str = "1"
    workers: str = "1"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Raises CallRefused, naming every variable that is missing."""
        names = cls.__dataclass_fields__
        given = {
            name: environ[PREFIX + name.upper()]
            for name in names
            if PREFIX + name.upper() in environ
        }
        needed = ("account", "region", "table", "bus", "policies", "timeout")
        missing = [PREFIX + name.upper() for name in needed if name not in given]
        if missing:
            raise CallRefused(
                f"not set: {', '.join(missing)}. The stack sets them: redeploy it, or set them by "
                "hand to run a function outside of it"
            )
        return cls(**given)

    @property
    def alone(self) -> bool:
        """The function restores from what is in its own Region, and from nothing else."""
        return bool(self.home) and self.home != self.region

    @property
    def lease(self) -> timedelta:
        """No shorter than a worker can run."""
        return timedelta(seconds=int(self.timeout) + 10)
