"""What every function stands on: logs, metrics, dead letters, and its connections to AWS."""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache, partial, wraps
from typing import Any, TypeVar

from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from lastgood import codec
from lastgood.aws.accounts import Accounts, Credentials
from lastgood.aws.bus import (
    EventBus,
    RestoreNews,
    copy_event,
    ebs_event,
    late_event,
    progress_event,
)
from lastgood.aws.clients import ONCE, PATIENT, client, hasty
from lastgood.aws.commands import SsmCommands
from lastgood.aws.compute import Ec2Compute
from lastgood.aws.endings import ScheduleEndings
from lastgood.aws.faults import Service, translated
from lastgood.aws.invoking import LambdaFunction, LambdaPlanners, LambdaPruners
from lastgood.aws.machines import Ec2Machines
from lastgood.aws.pacing import Pace
from lastgood.aws.plans import S3Plans
from lastgood.aws.queue import SqsCopyQueue, SqsDeliveries, SqsPruneQueue, SqsQueue
from lastgood.aws.states import Machine
from lastgood.aws.topic import SnsNotices
from lastgood.domain.chat_permissions import Permissions
from lastgood.domain.conversing import Progress
from lastgood.domain.copying import CopyEnded, CopyLate, CopyWork, PlaceDue, PointReady
from lastgood.domain.ended import SnapshotsEnded
from lastgood.domain.measures import NAMESPACE, Measure
from lastgood.domain.model import Point, PointStatus
from lastgood.domain.place import Place
from lastgood.domain.policy import Policy
from lastgood.domain.prune_plan import PruneMessage
from lastgood.domain.requests import TakeRequest
from lastgood.domain.restoring import Restore, RestoreRequest, RestoreStatus
from lastgood.errors import (
    CallRefused,
    LastgoodError,
    LimitReached,
    MalformedMessage,
    NotSettledYet,
    OutOfTime,
    Refused,
    TryAgain,
    UnknownPolicy,
)
from lastgood.ledger.dynamo import DynamoLedger
from lastgood.ports import Clock, Delivery, Deployed, Patience
from lastgood.series import AllSeries
from lastgood.settings import Settings
from lastgood.slack import SlackReplies

T = TypeVar("T")
Response = dict[str, Any]
Payload = Mapping[str, Any]

LONGEST_WAIT = timedelta(minutes=15)
LONGEST_WAIT_FOR_LIMIT = timedelta(hours=2)
"""A pending snapshot of a large st1 volume takes hours: twelve deliveries wait for half a day."""
AFTER_CONFLICT = timedelta(seconds=30)
RESERVE = timedelta(seconds=45)
"""What handling one message may take: the longest wait for its turn (``pacing.SLOWEST``), and a
call that is answered late. With less time left, the rest of a batch goes back to the queue."""
POLICY_AGE = 60
"""Seconds for which a function keeps a policy that it has read."""
SECRET_AGE = 300
"""Seconds for which chat keeps the secret of Slack."""
SECRET_RENEWED_AFTER = timedelta(minutes=1)
"""If a signature does not fit, it may be of a newer secret; but strangers must not be able to have
it read all the time."""
SHORTEST_SECRET = 16
IAM_SECONDS = 2.0
REPLY_SECONDS = 5.0
CHAT_REPLY_SECONDS = 0.5
"""Who pushed a button waits for it."""

# Both take their service, which is the function's name, from POWERTOOLS_SERVICE_NAME.
logger = Logger(use_rfc3339=True, utc=True)
metrics = Metrics(namespace=NAMESPACE)


class SystemClock:
    """``until`` is when the invocation that is under way will be ended."""

    until = datetime.max.replace(tzinfo=UTC)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def left(self) -> timedelta:
        return self.until - self.now()


class DeployedPolicies:
    """``Policies`` from SSM parameters, one for each, under ``path``."""

    def __init__(self, ssm: Any, path: str) -> None:
        # Here, so that functions that read no policy do not load it at their cold start.
        from aws_lambda_powertools.utilities.parameters import SSMProvider

        self._ssm = ssm
        self._provider = SSMProvider(boto3_client=ssm)
        self._path = path

    def all(self) -> list[Deployed]:
        pages = self._ssm.get_paginator("get_parameters_by_path").paginate(Path=self._path)
        with translated("ssm", "read the policies"):
            found = [one for page in pages for one in page["Parameters"]]
        return [
            Deployed(codec.structure(json.loads(one["Value"]), Policy), one["LastModifiedDate"])
            for one in sorted(found, key=lambda one: one["Name"])
        ]

    def get(self, name: str) -> Policy:
        try:
            text = _provided(
                "ssm",
                f"read policy {name}",
                lambda: self._provider.get(f"{self._path}/{name}", max_age=POLICY_AGE),
            )
        except UnknownPolicy as error:
            known = _provided(
                "ssm",
                "list the policies",
                lambda: self._provider.get_multiple(self._path, max_age=POLICY_AGE),
            )
            raise UnknownPolicy(
                f"no policy {name!r} is deployed; there are: "
                f"{', '.join(sorted(known)) or 'none'}. "
                "Add it to policies.yaml and deploy, or correct the name"
            ) from error
        return codec.structure(json.loads(str(text)), Policy)


class DeployedPermissions:
    """``Permitted`` from one SSM parameter."""

    def __init__(self, ssm: Any, name: str) -> None:
        from aws_lambda_powertools.utilities.parameters import SSMProvider

        self._provider = SSMProvider(boto3_client=ssm)
        self._name = name

    def get(self) -> Permissions:
        try:
            text = _provided(
                "ssm",
                "read who may do what in chat",
                lambda: self._provider.get(self._name, max_age=POLICY_AGE),
            )
        except UnknownPolicy as error:
            raise CallRefused(
                f"the parameter {self._name} is not there: deploy with -c chat=chat.yaml"
            ) from error
        return codec.structure(json.loads(str(text)), Permissions)


class SlackSecret:
    """``SigningSecret`` from one secret, a JSON object with the key ``signing_secret``."""

    def __init__(self, secrets: Any, name: str, clock: Clock) -> None:
        from aws_lambda_powertools.utilities.parameters import SecretsProvider

        self._provider = SecretsProvider(boto3_client=secrets)
        self._name = name
        self._clock = clock
        self._renewed_at = datetime.min.replace(tzinfo=UTC)

    def get(self) -> str:
        return self._read()

    def renewed(self) -> str | None:
        now = self._clock.now()
        if now < self._renewed_at + SECRET_RENEWED_AFTER:
            return None
        self._renewed_at = now
        return self._read(anew=True)

    def _read(self, *, anew: bool = False) -> str:
        text = _provided(
            "secretsmanager",
            "read the signing secret of Slack",
            lambda: self._provider.get(self._name, max_age=SECRET_AGE, force_fetch=anew),
        )
        try:
            secret = json.loads(str(text))
        except ValueError:
            secret = None
        match secret:
            # With an empty one, anybody could sign.
            case {"signing_secret": str(signing)} if len(signing) >= SHORTEST_SECRET:
                return signing
            case _:
                raise CallRefused(
                    f"the secret {self._name} has no signing secret: write into it "
                    '{"signing_secret": "..."}, as the page of the app at Slack shows it'
                )


def _provided(service: Service, what: str, ask: Callable[[], T]) -> T:
    """Powertools wraps what botocore raised; our table of errors knows what is inside."""
    from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError

    with translated(service, what):
        try:
            return ask()
        except GetParameterError as error:
            raise error.__cause__ or error.__context__ or error from error


@cache
def settings() -> Settings:
    return Settings.from_env()


@cache
def clock() -> SystemClock:
    return SystemClock()


@cache
def policies() -> DeployedPolicies:
    return DeployedPolicies(client("ssm", settings().region), settings().policies)


@cache
def compute(region: str) -> Ec2Compute:
    """Of the account of the stack."""
    return _compute(region)


def at(place: Place) -> Ec2Compute:
    """Raises as ``Accounts.enter`` does, if it is in another account."""
    if place.account == settings().account:
        return compute(place.region)
    return _abroad(place.region, accounts().enter(place.account, place.region, clock().now()))


@lru_cache(maxsize=64)
def _abroad(region: str, credentials: Credentials) -> Ec2Compute:
    return _compute(region, credentials)


def _compute(region: str, credentials: Credentials | None = None) -> Ec2Compute:
    workers = int(settings().workers)
    paced = ("create_snapshot", "create_snapshots", "copy_snapshot", "delete_snapshot")
    paces = {one: Pace(workers) for one in paced}
    patient, once = (client("ec2", region, how, credentials) for how in (PATIENT, ONCE))
    quotas, keys = (
        partial(client, service, region, PATIENT, credentials)
        for service in ("service-quotas", "kms")
    )
    return Ec2Compute(patient, once, paces, quotas, keys)


@cache
def accounts() -> Accounts:
    return Accounts(client("sts", settings().region), settings().function, settings().external_id)


@cache
def home() -> Place:
    """Where the function is."""
    return Place(region=settings().region, account=settings().account)


@cache
def series() -> AllSeries:
    return AllSeries(ledger(), at, home())


@cache
def ledger() -> DynamoLedger:
    return DynamoLedger(client("dynamodb", settings().region), settings().table)


@cache
def take_queue() -> SqsQueue:
    return SqsQueue(client("sqs", settings().region), settings().take_queue)


@cache
def planners() -> LambdaPlanners:
    return LambdaPlanners(client("lambda", settings().region), settings().planner)


@cache
def pruners() -> LambdaPruners:
    return LambdaPruners(client("lambda", settings().region), settings().pruner)


@cache
def permissions() -> DeployedPermissions:
    return DeployedPermissions(client("ssm", settings().region), settings().chat)


@cache
def signing_secret() -> SlackSecret:
    return SlackSecret(client("secretsmanager", settings().region), settings().secret, clock())


def cloner(patience: timedelta) -> LambdaFunction:
    return _asked_in_haste(settings().cloner, patience)


def explainer(patience: timedelta) -> LambdaFunction:
    return _asked_in_haste(settings().pruner, patience)


@cache
def _asked_in_haste(function: str, patience: timedelta) -> LambdaFunction:
    how = hasty(patience.total_seconds())
    return LambdaFunction(client("lambda", settings().region, how), function)


@cache
def replies(seconds: float = REPLY_SECONDS) -> SlackReplies:
    return SlackReplies(settings().slack_hooks, seconds)


@cache
def prune_queue() -> SqsPruneQueue:
    return SqsPruneQueue(client("sqs", settings().region), settings().prune_queue)


@cache
def copy_queue() -> SqsCopyQueue:
    return SqsCopyQueue(client("sqs", settings().region), settings().copy_queue)


@cache
def plans() -> S3Plans:
    return S3Plans(client("s3", settings().region), settings().plans)


@cache
def notices() -> SnsNotices:
    return SnsNotices(client("sns", settings().region), settings().topic)


@cache
def event_bus() -> EventBus:
    return EventBus(client("events", settings().region), settings().bus)


@cache
def bus() -> "MeasuredBus":
    return MeasuredBus(event_bus())


@cache
def news() -> "MeasuredNews":
    return MeasuredNews(RestoreNews(event_bus()))


@cache
def machines(region: str) -> Ec2Machines:
    # IAM is asked only whether something is there, and may be dark where EC2 is not.
    iam, keys = partial(client, "iam", region, hasty(IAM_SECONDS)), partial(client, "kms", region)
    return Ec2Machines(client("ec2", region), iam, keys)


@cache
def commands(region: str) -> SsmCommands:
    return SsmCommands(client("ssm", region), client("ssm", region, ONCE))


@cache
def restore_machine() -> Machine:
    return Machine(client("stepfunctions", settings().region), settings().machine)


@cache
def endings() -> ScheduleEndings:
    return ScheduleEndings(
        client("scheduler", settings().region),
        settings().endings,
        settings().machine,
        settings().ending_role,
        settings().ending_letters,
    )


@cache
def deliveries() -> SqsDeliveries:
    return SqsDeliveries(
        client("sqs", settings().region), settings().queue, settings().dead_letters
    )


class MeasuredBus:
    """``Bus`` that counts what it announces, but for repeats: a point is announced as it ends."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    def announce(self, point: Point, *, repeat: bool = False) -> None:
        self._bus.announce(point)
        if repeat:
            return
        if point.status is PointStatus.FAILED:
            measure(Measure.POINTS_FAILED, policy=point.policy)
        elif point.settled_at is not None:
            seconds = int((point.settled_at - point.slot).total_seconds())
            measure(Measure.POINTS_AVAILABLE, policy=point.policy)
            measure(Measure.SECONDS_TO_AVAILABLE, seconds, MetricUnit.Seconds, policy=point.policy)


class MeasuredNews:
    """``News`` that counts how restores end. A step that is said twice may count twice."""

    def __init__(self, news: RestoreNews) -> None:
        self._news = news

    def refuse(self, restore: str, request: RestoreRequest, what: str) -> None:
        self._news.refuse(restore, request, what)

    def announce(self, restore: Restore, what: str) -> None:
        self._news.announce(restore, what)
        mode, status = restore.request.mode.value, restore.status
        if status in (RestoreStatus.DONE, RestoreStatus.UNDONE, RestoreStatus.ENDED):
            measure(Measure.RESTORES, mode=mode, end=status.value)
        if restore.settled_at and status in (RestoreStatus.DONE, RestoreStatus.ENDING):
            seconds = (restore.settled_at - restore.free_to_go_at).total_seconds()
            measure(Measure.RESTORE_SECONDS, seconds, MetricUnit.Seconds, mode=mode)


def measure(
    name: Measure, value: float = 1, unit: MetricUnit = MetricUnit.Count, **dimensions: str
) -> None:
    with single_metric(namespace=NAMESPACE, name=name, unit=unit, value=value) as metric:
        for dimension, of in dimensions.items():
            metric.add_dimension(name=dimension, value=of)


def patience() -> Patience:
    return Patience(lease=settings().lease)


def instrumented(
    request_type: type[T], about: Callable[[T], Mapping[str, Any]]
) -> Callable[..., Callable[..., Response]]:
    """For a function that is invoked with one request and answers it.

    The event becomes a ``request_type``, the report JSON; ``about`` says which keys the log lines
    bear. An error is logged and counted by its
    name, and goes to whoever invoked; Lambda puts it among the dead letters if that was nobody.
    """

    def decorate(handle: Callable[[T], Any]) -> Callable[..., Response]:
        @wraps(handle)
        @logger.inject_lambda_context(clear_state=True)
        @metrics.log_metrics
        def handler(event: Mapping[str, Any], context: LambdaContext) -> Response:
            _begin(context)
            metrics.add_metric(name="Requests", unit=MetricUnit.Count, value=1)
            try:
                request = codec.structure(event, request_type)
                logger.append_keys(**about(request))
                answer: Response = codec.unstructure(handle(request))
            except LastgoodError as error:
                report(error)
                raise
            return answer

        return handler

    return decorate


def answering(handle: Callable[[Payload, str], Any]) -> Callable[..., Any]:
    """For a function that people invoke: the handler is given what they wrote, as it is, and a name
    for the request that no other has. What it gives back becomes JSON.
    """

    @wraps(handle)
    @logger.inject_lambda_context(clear_state=True)
    @metrics.log_metrics
    def handler(event: Payload, context: LambdaContext) -> Any:
        _begin(context)
        metrics.add_metric(name="Requests", unit=MetricUnit.Count, value=1)
        try:
            return codec.unstructure(handle(event, context.aws_request_id))
        except LastgoodError as error:
            report(error)
            raise

    return handler


def served(serve: Callable[[Response, LambdaContext], Response]) -> Callable[..., Response]:
    """For a function that has a URL: ``serve`` makes the response of the event."""

    @wraps(serve)
    @logger.inject_lambda_context(clear_state=True)
    @metrics.log_metrics
    def handler(event: Response, context: LambdaContext) -> Response:
        _begin(context)
        metrics.add_metric(name="Requests", unit=MetricUnit.Count, value=1)
        return serve(event, context)

    return handler


def batch(
    parse: Callable[[Mapping[str, Any]], T], about: Callable[[T], Mapping[str, Any]]
) -> Callable[..., Callable[..., Response]]:
    """For a function that a queue feeds. Each message is handled alone, whatever the others do.

    ``parse`` makes the request of a message's JSON, ``about`` says which keys its log lines bear.
    What is refused for good, and what failed at its last delivery, goes to the dead letters with
    its error; anything else is delivered again, later each time.

    Not Powertools' batch: that loads asyncio and every kind of event, which is a tenth of a cold
    start (docs/decisions/0016).
    """

    def decorate(handle: Callable[[T, Delivery], Point | None]) -> Callable[..., Response]:
        @wraps(handle)
        @logger.inject_lambda_context(clear_state=True)
        @metrics.log_metrics
        def handler(event: dict[str, Any], context: LambdaContext) -> Response:
            _begin(context)
            metrics.add_metric(name="Messages", unit=MetricUnit.Count, value=len(event["Records"]))

            failed = []
            for record in event["Records"]:
                try:
                    _one(record, context, parse, about, handle)
                except _Left:
                    failed.append({"itemIdentifier": record["messageId"]})
                except LastgoodError as error:
                    # It could be neither postponed nor buried: it comes again with its visibility.
                    report(error)
                    failed.append({"itemIdentifier": record["messageId"]})
            return {"batchItemFailures": failed}

        return handler

    return decorate


def _begin(context: LambdaContext) -> None:
    left = timedelta(milliseconds=context.get_remaining_time_in_millis())
    clock().until = clock().now() + left


def _one(
    record: Mapping[str, Any],
    context: LambdaContext,
    parse: Callable[[Mapping[str, Any]], T],
    about: Callable[[T], Mapping[str, Any]],
    handle: Callable[[T, Delivery], Point | None],
) -> None:
    attempt = int(record["attributes"]["ApproximateReceiveCount"])
    delivery = Delivery(
        owner=f"{context.aws_request_id}/{record['messageId']}",
        attempt=attempt,
        last=attempt >= int(settings().receives),
    )
    with ExitStack() as keys:
        keys.enter_context(
            logger.append_context_keys(message_id=record["messageId"], attempt=attempt)
        )
        try:
            if clock().left() < RESERVE and not delivery.last:
                raise OutOfTime("the function's time is nearly over", timedelta(seconds=1))
            request = parse(_json(record["body"]))
            keys.enter_context(logger.append_context_keys(**about(request)))
            point = handle(request, delivery)
            if point is not None:
                logger.info(f"{point.id} is {point.status}", extra=about_point(point))
        except LastgoodError as error:
            if isinstance(error, Refused) or delivery.last:
                report(error)
                deliveries().bury(record["body"], error, context.function_name, clock().now())
                return
            wait = _wait(error, attempt)
            logger.info(
                f"comes again: {error}",
                error=type(error).__name__,
                seconds=wait.total_seconds(),
            )
            measure(Measure.RETRIES, error=type(error).__name__)
            deliveries().postpone(record["receiptHandle"], wait)
            raise _Left from error
        except Exception as error:
            # A bug of ours. The batch goes on, and the message comes again: but not in silence.
            logger.exception("this should not happen", error=type(error).__name__)
            _count(error)
            raise _Left from error


class _Left(Exception):
    """The message stays in the queue, and why was told."""


def message_of(type_: type[T]) -> Callable[[Mapping[str, Any]], T]:
    """For ``batch``: a message whose JSON is a ``type_``, in all its keys."""
    return lambda message: codec.structure(message, type_)


def ebs_snapshots(message: Mapping[str, Any]) -> SnapshotsEnded:
    """For ``batch``: a message that EventBridge made of an event of EBS."""
    return ebs_event(message)


def copy_work(message: Mapping[str, Any]) -> CopyWork:
    """For ``batch``: an announcement of ours, an event of EBS, or a place that a sweep names."""
    match message:
        case {"detail-type": "Recovery Point Available", "detail": {"point": str(point)}}:
            return PointReady(point=point)
        case {"detail-type": "EBS Copy Snapshot Missed Completion Duration"}:
            return late_event(message)
        case {"detail-type": _}:
            return copy_event(message)
        case _:
            return codec.structure(message, PlaceDue)


def restore_progress(message: Mapping[str, Any]) -> Progress:
    """For ``batch``: a message that EventBridge made of an announcement of ours."""
    return progress_event(message)


def about_progress(progress: Progress) -> dict[str, str]:
    return {"restore": progress.restore, "status": progress.status, "step": progress.step}


def about_copy(work: CopyWork) -> dict[str, str]:
    match work:
        case PointReady():
            return {"point": work.point}
        case PlaceDue():
            return {"place": str(work.place)}
        case CopyEnded() | CopyLate():
            return {"snapshot": work.snapshot, "region": work.region}


def about_request(request: TakeRequest) -> dict[str, str]:
    return {
        "policy": request.policy,
        "run": request.run,
        "point": request.point,
        "source": request.source.id,
    }


def about_prune(message: PruneMessage) -> dict[str, Any]:
    return {"policy": message.policy, "plan": message.plan, "slice": message.slice}


def about_point(point: Point) -> dict[str, str]:
    return {
        "policy": point.policy,
        "run": point.run,
        "point": point.id,
        "source": point.source.id,
    }


def _json(body: str) -> Mapping[str, Any]:
    try:
        message = json.loads(body)
    except ValueError as error:
        raise MalformedMessage(f"not JSON: {error}") from error
    if not isinstance(message, dict):
        raise MalformedMessage(f"not a JSON object: {body[:60]}")
    return message


def _wait(error: LastgoodError, attempt: int) -> timedelta:
    """Twice as long each time; but what can tell when it will be known is believed."""
    if not isinstance(error, TryAgain):
        return AFTER_CONFLICT
    if isinstance(error, NotSettledYet | OutOfTime):
        return error.after
    longest = LONGEST_WAIT_FOR_LIMIT if isinstance(error, LimitReached) else LONGEST_WAIT
    return min(error.after * (1 << min(attempt - 1, 10)), longest)


def report(error: LastgoodError) -> None:
    """Log the error and count it under its name."""
    logger.error(str(error), error=type(error).__name__)
    _count(error)


def _count(error: Exception) -> None:
    measure(Measure.ERRORS, error=type(error).__name__)
