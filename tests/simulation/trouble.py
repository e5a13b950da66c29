"""What goes wrong with one invocation of a function, at one of its calls to the world."""

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from lastgood.aws.faults import SOON, Service, translate
from lastgood.errors import LastgoodError, Unavailable
from tests.cloud.killed import Killed
from tests.simulation.agenda import Agenda

T = TypeVar("T")


class Kind(StrEnum):
    """What happens at one call of a troubled invocation to the world."""

    KILLED_BEFORE = "killed before a call"
    KILLED_AFTER = "killed after a call"
    LOST = "reply lost"
    REFUSED = "throttled or an internal error"
    SLOW = "a slow worker"
    REPEATED = "repeated by botocore after a lost reply"


KINDS = tuple(Kind)
CREATING = ("snapshot_set", "snapshot_volume")
TRANSACTIONS = ("claim", "settle", "give_up")
"""Of DynamoDB. botocore gives each a token, so that one that it repeats is answered as at first."""
SERVICE_OF: dict[str, Service] = {
    "compute": "ec2",
    "ledger": "dynamodb",
    "queue": "sqs",
    "planners": "lambda",
    "notices": "sns",
    "bus": "events",
    "policies": "ssm",
}


def refusal(code: str, what: str, service: Service = "ec2") -> LastgoodError:
    """What the adapters make of this code of AWS, by the product's own table."""
    response: Any = {"Error": {"Code": code, "Message": ""}}
    return translate(service, ClientError(response, what), what)


class Trouble:
    """One invocation's: at its ``step``-th call to the world; or at the first of a ``method``."""

    def __init__(self, agenda: Agenda, kind: Kind | None = None, method: str = "") -> None:
        self.kind = kind or agenda.random.choice(KINDS)
        self.method = method
        self._agenda = agenda
        # Most invocations make few calls: the first ones are hit more often.
        self.step = 1 + int(agenda.random.expovariate(0.2))
        self.chosen = agenda.random.random()
        self.hit = False

    def around(
        self, service: Service, method: str, call: Callable[[], T], stall: Callable[[float], None]
    ) -> T:
        """Make the call, with what is to go wrong.

        Raises:
            Killed: the worker died.
            LastgoodError: AWS answered so, or not at all.
        """
        if not self._is_now(method):
            return call()
        self.hit = True
        what = f"{service} {method}"
        self._agenda.note(self.kind, method)
        match self.kind:
            case Kind.KILLED_BEFORE:
                raise Killed
            case Kind.KILLED_AFTER:
                call()
                raise Killed
            case Kind.REFUSED:
                codes = ("ThrottlingException", "InternalFailure", "ServiceUnavailable")
                raise refusal(codes[int(self.chosen * len(codes))], what, service)
            case Kind.SLOW:
                if self.chosen < 0.5:
                    stall(self.chosen * 240)
                    return call()
                result = call()
                stall((self.chosen - 0.5) * 300)
                return result
        result = call()
        if self.kind is Kind.REPEATED and method in TRANSACTIONS:
            return result
        if self.kind is Kind.REPEATED and method not in CREATING:
            return call()
        raise Unavailable(f"{what}: the reply was lost", SOON, effect_unknown=True)

    def _is_now(self, method: str) -> bool:
        if self.method:
            return method == self.method
        self.step -= 1
        return self.step == 0


class Watched:
    """A port whose every call goes through ``around``."""

    def __init__(self, name: str, port: Any, around: Callable[..., Any]) -> None:
        self._port = port
        self._service = SERVICE_OF[name]
        self._around = around

    def __getattr__(self, method: str) -> Any:
        value = getattr(self._port, method)
        if not callable(value):
            return value

        def call(*given: Any, **kwargs: Any) -> Any:
            # A call that is made again has all of its request again.
            args = [list(one) if isinstance(one, Iterator) else one for one in given]
            return self._around(self._service, method, lambda: value(*args, **kwargs))

        return call
