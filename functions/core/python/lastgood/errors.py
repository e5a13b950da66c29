"""Every error that Lastgood raises on purpose.

Class names are an API: metrics, dead letters and state machines match them.

LastgoodError
├── Refused                 it will fail the same way again: a person must change something
│   ├── PolicyInvalid           policies.yaml has a mistake (found at synth)
│   ├── UnsafePlan              a retention that keeps nothing, or a plan that may not be applied
│   ├── UnknownPolicy           no policy of that name is deployed
│   ├── UnknownTarget           no point, source, snapshot or plan of that id is on record
│   ├── MalformedMessage        an event or message is not of the shape that is expected
│   ├── SourceNotSelected       the source exists, but the policy leaves it out
│   ├── SourceGone              the instance or volume is not there any more
│   ├── ForeignEvent            an event of another AWS account
│   ├── RegionNotEnabled        the account has not opted in to that Region
│   ├── AccessDenied            the function's role may not make the call
│   ├── KeyDenied               the KMS key is disabled, gone, or its policy says no
│   ├── LedgerMissing           the DynamoDB table is not there
│   ├── CannotRestore           a restore that cannot work as it was asked for: every reason
│   ├── NotPermitted            who asks may not have that done (the permissions of chat)
│   ├── Cancelled               a person stopped the restore
│   ├── NotApproved             nobody approved the restore in time, or somebody declined it
│   ├── DeadlinePassed          a step of a restore took longer than it may
│   ├── MadeInVain              EC2 made what a restore asked for, and it came to nothing
│   ├── CheckFailed             what was restored does not work
│   ├── InUse                   something holds what was to be deleted: an AMI, a lock
│   └── CallRefused             AWS refused a call for another lasting reason
├── TryAgain                it may work later: carries how long to wait
│   ├── Throttled               the account's request rate is used up
│   ├── LimitReached            too many snapshots of a volume are pending, or too close together,
│   │                           or the source is in a state that does not allow one now
│   ├── OutOfTime               the function's own time is nearly over: another takes it up
│   ├── NotSettledYet           what we look for may be there, but describes may lag behind
│   └── Unavailable             AWS had a fault of its own, or the reply was lost
├── Conflict                another worker holds it, or it is past that state
└── AlreadyDone             what was asked for is so already: for the one who asked to catch
"""

from datetime import timedelta


class LastgoodError(Exception):
    """The root. The message says what happened and what to change."""


class Refused(LastgoodError):
    """Trying again cannot help."""


class PolicyInvalid(Refused):
    """``policies.yaml`` has mistakes. ``problems`` has one line for each, with its path."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UnsafePlan(Refused):
    pass


class UnknownPolicy(Refused):
    pass


class UnknownTarget(Refused):
    pass


class MalformedMessage(Refused):
    pass


class SourceNotSelected(Refused):
    pass


class SourceGone(Refused):
    pass


class ForeignEvent(Refused):
    pass


class RegionNotEnabled(Refused):
    pass


class AccessDenied(Refused):
    pass


class KeyDenied(Refused):
    pass


class LedgerMissing(Refused):
    pass


class CannotRestore(Refused):
    """``problems`` has a line for each reason, with what to change."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class NotPermitted(Refused):
    pass


class Cancelled(Refused):
    pass


class NotApproved(Refused):
    pass


class DeadlinePassed(Refused):
    pass


class MadeInVain(Refused):
    pass


class CheckFailed(Refused):
    pass


class InUse(Refused):
    pass


class CallRefused(Refused):
    pass


class TryAgain(LastgoodError):
    """Worth another try once ``after`` has passed."""

    def __init__(self, message: str, after: timedelta) -> None:
        super().__init__(message)
        self.after = after


class Throttled(TryAgain):
    pass


class LimitReached(TryAgain):
    pass


class OutOfTime(TryAgain):
    pass


class NotSettledYet(TryAgain):
    pass


class Unavailable(TryAgain):
    """``effect_unknown``: the call may have been carried out although no reply came."""

    def __init__(self, message: str, after: timedelta, effect_unknown: bool = True) -> None:
        super().__init__(message, after)
        self.effect_unknown = effect_unknown


class Conflict(LastgoodError):
    pass


class AlreadyDone(LastgoodError):
    pass
