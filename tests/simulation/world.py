"""The whole of it: functions, queues, schedules, two Regions, and the days that pass."""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from time import process_time
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from create_snapshots.usecase import Taker
from infra.catalog import BY_NAME, QueueTrigger
from lastgood.domain.ended import SnapshotsEnded
from lastgood.domain.place import Place
from lastgood.domain.policy import Policy
from lastgood.errors import LastgoodError, Refused
from lastgood.ledger.memory import MemoryLedger
from lastgood.ports import Delivery, Patience
from plan_snapshots.usecase import Planner, PlanRequest
from record_snapshot.usecase import Recorder
from sweep.usecase import Sweeper, SweepReport, SweepRequest
from tests.cloud.expressions import next_after
from tests.cloud.killed import Killed
from tests.simulation.agenda import DAY, HOUR, MINUTE, START, Agenda
from tests.simulation.ec2 import ACCOUNT, Region
from tests.simulation.fleet import (
    AWAY,
    DATA,
    ESTATE,
    HOME,
    POLICIES,
    WEB,
    DeployedPolicies,
    People,
)
from tests.simulation.messages import Announcements, Inbox, TakeQueue, Told
from tests.simulation.promises import Promises
from tests.simulation.trouble import Kind, Trouble, Watched, refusal
from tests.simulation.weather import CALM, FOG, ROUGH, STORM
from tests.support.fakes import FakeCopyQueue, FakeRestoreMachine

T = TypeVar("T")

QUARTER = timedelta(minutes=15)
AT_REST = timedelta(hours=6)
"""With nothing in flight, nothing in doubt and no slot just over, a sweep finds nothing: of those,
one in 24 is made; on calm days, of the others every second."""
REBUILDS = 90
"""Days between the rebuilding sweeps, which the deployed bundle makes daily: nothing is missing."""
RETRIED = (60, 120)
"""Seconds after which Lambda invokes again what failed."""
LATE = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Functions:
    """The use cases, on ports that are plain, or watched for one that is in trouble."""

    planner: Planner
    taker: Taker
    recorder: Recorder
    sweeper: Sweeper


@dataclass(frozen=True, slots=True)
class Outage:
    begin: datetime
    end: datetime


class Simulation:
    """Run ``days`` of it from ``seed``, and see after each whether the promises hold.

    What is random is drawn from one source: the same seed gives the same ``trace``.
    """

    def __init__(self, seed: int, days: int) -> None:
        self.seed = seed
        self.days = days
        self.agenda = Agenda(seed, START)
        self.ledger = MemoryLedger()
        self.regions = {name: Region(name, self.agenda, self._tell) for name in (HOME, AWAY)}
        self.policies = DeployedPolicies(START - DAY)
        self.changed: dict[str, datetime] = {}
        self.people = People(self.agenda, self.regions, self.changed)
        self.bus = Announcements(self.agenda)
        self.told = Told(self.agenda)
        self.outages: list[Outage] = []
        self.ledger_down: list[Outage] = []
        self.down: list[Outage] = []
        """All of them, and those of a Region."""
        self.poisoned: dict[str, str] = {}
        """Sources at which every worker dies, at this call."""
        self.lost_at: datetime | None = None
        self.takes = self._inbox("create_snapshots", self._take, rate=4.75, burst=50)
        self.records = self._inbox("record_snapshot", self._record, of_events=True)
        self.queue = TakeQueue(self.takes)
        self._plain = self._functions(lambda _, port: port)
        self._watched = self._functions(lambda name, port: Watched(name, port, self._around))
        self._trouble: Trouble | None = None
        self._stalled = False
        self.promises = Promises(self)
        self.seconds = 0.0
        """Of the processor, that ``run`` took."""

    def run(self) -> "Simulation":
        """Raises Broken. What else is raised is a bug, and bears a note of seed and time."""
        begun = process_time()
        # What is made here is kept, and in no circle: to look through it each time takes a fifth.
        gc.disable()
        try:
            self._run()
        except Exception as error:
            error.add_note(f"seed {self.seed}, {self.agenda.time:%Y-%m-%d %H:%M:%S} UTC")
            raise
        finally:
            gc.enable()
            self.seconds = process_time() - begun
        return self

    def _run(self) -> None:
        agenda = self.agenda
        self.people.found()
        for policy in POLICIES:
            self._schedule(policy, START)
        agenda.at(START + QUARTER, self._quarter)
        for day in range(self.days):
            self._forecast(day)
            agenda.run_until(START + (day + 1) * DAY)
            self.promises.look(day)

    @property
    def trace(self) -> str:
        return self.agenda.trace

    def summary(self) -> str:
        """What happened, counted."""
        counts = [f"{count:9,} {what}" for what, count in sorted(self.agenda.counts.items())]
        causes = [f"{count:9,} {what}" for what, count in self.promises.causes.most_common(15)]
        judged = ", ".join(f"{n:,} {what}" for what, n in sorted(self.promises.judged.items()))
        return "\n".join(
            [
                f"seed {self.seed}, {self.days} days: judged {judged}; "
                f"{self.seconds:.1f} s of the processor; trace {self.trace}",
                *counts,
                "why there is no good point:",
                *causes,
            ]
        )

    # functions and what starts them

    def _functions(self, port: Callable[[str, Any], Any]) -> Functions:
        compute = {name: port("compute", region) for name, region in self.regions.items()}

        def at(place: Place) -> Any:
            return compute[place.region]

        ledger, bus = port("ledger", self.ledger), port("bus", self.bus)
        queue, planners = port("queue", self.queue), port("planners", self)
        policies, clock = port("policies", self.policies), self.agenda
        return Functions(
            planner=Planner(
                policies=policies,
                at=at,
                ledger=ledger,
                queue=queue,
                planners=planners,
                clock=clock,
                account=ACCOUNT,
                home_region=HOME,
            ),
            taker=Taker(
                at=at,
                ledger=ledger,
                bus=bus,
                clock=clock,
                patience=_patience("create_snapshots"),
            ),
            recorder=Recorder(
                at=at,
                ledger=ledger,
                bus=bus,
                clock=clock,
                accounts=frozenset({ACCOUNT}),
            ),
            sweeper=Sweeper(
                copies=FakeCopyQueue(),
                policies=policies,
                at=at,
                ledger=ledger,
                queue=queue,
                planners=planners,
                notices=port("notices", self.told),
                machine=FakeRestoreMachine(),
                bus=bus,
                clock=clock,
                patience=_patience("sweep"),
                account=ACCOUNT,
                home_region=HOME,
            ),
        )

    def _inbox(self, function: str, handle: Callable[..., Any], **given: Any) -> Inbox:
        row = BY_NAME[function]
        assert isinstance(row.trigger, QueueTrigger)
        return Inbox(
            function=function,
            timeout=row.timeout,
            receives=row.trigger.receives,
            agenda=self.agenda,
            handle=handle,
            awake=self.awake,
            **given,
        )

    def _take(self, request: Any, delivery: Delivery) -> None:
        method = self.poisoned.get(request.source.id)
        poison = Trouble(self.agenda, Kind.KILLED_BEFORE, method) if method else None
        self._invoke("create_snapshots", lambda on: on.taker.take(request, delivery), poison)

    def _record(self, event: Any, delivery: Delivery) -> None:
        self._invoke("record_snapshot", lambda on: on.recorder.record(event, delivery))

    def _tell(self, event: SnapshotsEnded) -> None:
        self.records.put(event)

    def ask(self, policy: str, slot: datetime, source: str | None = None) -> None:
        """``Planners``."""
        request = PlanRequest(policy=policy, slot=slot, source=source)
        self._later("plan_snapshots", lambda on: on.planner.plan(request))

    def _later(self, function: str, call: Callable[[Functions], Any]) -> None:
        """An asynchronous invocation: at once, or twice."""
        agenda = self.agenda
        for _ in range(2 if agenda.chance(agenda.weather.doubled) else 1):
            agenda.after(agenda.between(0, 30), self._asked, function, call, agenda.time, 0)

    def _asked(
        self, function: str, call: Callable[[Functions], Any], since: datetime, attempt: int
    ) -> None:
        agenda = self.agenda
        start = self.awake()
        if start - since > LATE:
            agenda.note(f"{function}: dead letters, too late")
        elif start > agenda.time:
            agenda.at(start, self._asked, function, call, since, attempt)
        else:
            agenda.note(function)
            try:
                self._invoke(function, call)
            except (LastgoodError, Killed) as error:
                agenda.note(f"{function}: {type(error).__name__}")
                if attempt < len(RETRIED):
                    agenda.after(RETRIED[attempt], self._asked, function, call, since, attempt + 1)
                else:
                    agenda.note(f"{function}: dead letters, {type(error).__name__}")

    def _invoke(
        self, function: str, call: Callable[[Functions], Any], trouble: Trouble | None = None
    ) -> None:
        """One invocation, with what is to go wrong with it.

        Raises:
            Killed: it died on the way, or before anybody heard that it had ended.
            LastgoodError: what the use case raised.
        """
        agenda = self.agenda
        before = agenda.deadline, self._trouble, self.told.in_trouble
        if trouble is None and agenda.chance(agenda.weather.troubled):
            trouble = Trouble(agenda)
        watched = trouble is not None or self._is_ledger_down()
        left = BY_NAME[function].timeout
        if trouble is not None and function == "plan_snapshots" and agenda.chance(0.3):
            agenda.note("planners short of time")
            left = 100
        agenda.deadline = agenda.time + timedelta(seconds=left)
        self._trouble, self.told.in_trouble = trouble, watched
        try:
            call(self._watched if watched else self._plain)
            if trouble and not trouble.hit and trouble.kind is Kind.KILLED_AFTER:
                agenda.note(trouble.kind)
                raise Killed
        finally:
            agenda.deadline, self._trouble, self.told.in_trouble = before

    def _around(self, service: Any, method: str, call: Callable[[], T]) -> T:
        if service == "dynamodb" and self._is_ledger_down():
            raise refusal("InternalServerError", method, service)
        trouble = self._trouble
        if trouble is None:
            return call()
        return trouble.around(service, method, call, self._stall)

    def _stall(self, seconds: float) -> None:
        """The rest of the world goes on meanwhile. Raises Killed when the function's time is up."""
        if self._stalled:
            return
        agenda, deadline, trouble = self.agenda, self.agenda.deadline, self._trouble
        self._stalled = True
        try:
            agenda.run_until(min(deadline, agenda.time + timedelta(seconds=seconds)))
        finally:
            self._stalled = False
        self._trouble = trouble
        if agenda.time >= deadline:
            raise Killed

    # schedules

    def _schedule(self, policy: Policy, after: datetime) -> None:
        schedule = policy.schedules[0]
        slot = next_after(schedule.expression, schedule.timezone, after, START)
        assert slot is not None
        self.agenda.at(slot, self._due, policy, slot)

    def _due(self, policy: Policy, slot: datetime) -> None:
        agenda = self.agenda
        self._schedule(policy, slot)
        if not self.policies.has(policy):
            return
        if agenda.chance(agenda.weather.skipped):
            agenda.note("slots skipped by Scheduler", policy.name)
            return
        window = (policy.schedules[0].window or MINUTE).total_seconds()
        times = 2 if agenda.chance(agenda.weather.doubled) else 1
        for _ in range(times):
            agenda.after(agenda.between(0, window), self.ask, policy.name, slot)

    def _quarter(self) -> None:
        """Of an hour: the sweep's schedule."""
        agenda = self.agenda
        now = agenda.time
        agenda.at(now + QUARTER, self._quarter)
        rebuild = now.hour == 4 and now.minute == 15 and self._rebuild_today(now)
        rests = not self.ledger._flying and not self.ledger._doubts
        seldom = now.minute == 0 and now.hour % (AT_REST // HOUR) == 0
        skipped = now.minute % 30 and agenda.weather is CALM
        if rests and not self.promises.just_due(now):
            skipped = not seldom
        if skipped and not rebuild:
            return
        self.sweep(rebuild=rebuild)

    def sweep(self, *, rebuild: bool = False) -> None:
        self._later("sweep", partial(self._swept, SweepRequest(rebuild=rebuild)))

    def _swept(self, request: SweepRequest, on: Functions) -> None:
        report, error = on.sweeper.sweep(request)
        self._count(report)
        if error is not None:
            raise error

    def _count(self, report: SweepReport) -> None:
        for name in ("settled", "retaken", "adopted", "given_up", "rebuilt"):
            self.agenda.counts[f"swept: {name}"] += getattr(report, name)
        self.agenda.counts["swept: caught up"] += sum(report.caught_up.values())

    def _rebuild_today(self, now: datetime) -> bool:
        just_lost = self.lost_at is not None and now - self.lost_at < 2 * DAY
        return just_lost or not (now - START).days % REBUILDS

    # what a day brings

    def _forecast(self, day: int) -> None:
        agenda = self.agenda
        roll = agenda.random.random()
        before = agenda.weather
        # After a storm comes a calm: what broke in it is judged two days later.
        calm = roll < 0.75 or before in (STORM, FOG)
        agenda.weather = CALM if calm else ROUGH if roll < 0.94 else STORM if roll < 0.98 else FOG
        agenda.note(f"days {agenda.weather.name}")
        midnight = START + day * DAY
        for policy in POLICIES:
            for slot in slots_of(policy, midnight.date()):
                agenda.at(slot, self.promises.due, policy, slot)
        for _ in range(int(agenda.random.expovariate(0.4))):
            agenda.at(self._sometime(midnight), self.people.change)
        for share, what in (
            (0.02, self._region_falls),
            (0.01, self._ledger_falls),
            (0.01, self._all_falls),
            (0.05, self._others_draw),
            (0.3, self._others_snapshot),
            (0.05, self._lock_a_key),
            (0.01, self._take_a_policy_out),
            (0.03, self._poison),
            (0.3, self._take_one_by_hand),
        ):
            if agenda.chance(share):
                agenda.at(self._sometime(midnight), what)
        if self.days >= 60 and day in (self.days // 3, self.days * 2 // 3):
            agenda.at(midnight + timedelta(hours=agenda.between(4, 23)), self._lose_the_ledger)

    def _sometime(self, midnight: datetime) -> datetime:
        """Every other time about when the daily policy runs."""
        if self.agenda.chance(0.5):
            return midnight + MINUTE * self.agenda.between(20, 110)
        return midnight + MINUTE * self.agenda.between(0, 1440)

    def _region_falls(self) -> None:
        region = self.agenda.random.choice(list(self.regions.values()))
        region.fall(self.agenda.between(60, 3 * 3600))
        self.down.append(Outage(self.agenda.time, region.down_until))
        self.agenda.note("Regions down", region.region)

    def _ledger_falls(self) -> None:
        now = self.agenda.time
        self.ledger_down.append(Outage(now, now + MINUTE * self.agenda.between(0.5, 60)))
        self.down.append(self.ledger_down[-1])
        self.agenda.note("ledger down")

    def _all_falls(self) -> None:
        now = self.agenda.time
        self.outages.append(Outage(now, now + HOUR * self.agenda.between(2, 30)))
        self.down.append(self.outages[-1])
        self.agenda.note("outages")

    def _others_draw(self) -> None:
        self.agenda.random.choice(list(self.regions.values())).draw(self.agenda.between(2, 40))
        self.agenda.note("buckets drawn on by others")

    def _others_snapshot(self) -> None:
        region = self.agenda.random.choice(list(self.regions.values()))
        volume = self.agenda.random.choice(list(region.disks))
        region.hold(volume, self.agenda.time + HOUR * self.agenda.between(0.1, 3))
        self.agenda.note("volumes held by others", volume)

    def _lock_a_key(self) -> None:
        region = self.agenda.random.choice(list(self.regions.values()))
        volume = self.agenda.random.choice(list(region.disks))
        region.locked.add(volume)
        self.agenda.after(self.agenda.between(3600, 2 * 86400), region.locked.discard, volume)
        self.agenda.note("keys disabled", volume)

    def _poison(self) -> None:
        """A source that no worker survives: its facts need more memory than there is, say."""
        source = self.agenda.random.choice(sorted(self.people.selected(WEB)))
        methods = ("claim", "launch", "answer", "snapshot_set")
        self.poisoned[source] = self.agenda.random.choice(methods)
        self.agenda.after(86400, self.poisoned.pop, source, None)
        self.agenda.note("poisoned sources", source)

    def _take_a_policy_out(self) -> None:
        policy = self.agenda.random.choice([DATA, ESTATE, WEB])
        if len(self.policies.all()) < len(POLICIES):
            return
        self.policies.take_out(policy)
        self.promises.without(policy)
        back = self.agenda.time + HOUR * self.agenda.between(1, 72)
        self.agenda.at(back, self._put_back, policy)
        self.agenda.note("policies taken out", policy.name)

    def _put_back(self, policy: Policy) -> None:
        self.policies.put_back(policy, self.agenda.time)
        self.promises.with_again(policy)

    def _take_one_by_hand(self) -> None:
        """Of now; or, every third time, of the slot that is just being taken."""
        policy = self.agenda.random.choice([one.policy for one in self.policies.all()])
        sources = list(self.people.selected(policy))
        source = self.agenda.random.choice(sources)
        slot = self.agenda.time.replace(second=0, microsecond=0)
        latest = self.promises.latest(policy)
        if latest is not None and self.agenda.chance(0.3):
            slot = latest
        self._ask_by_hand(policy, slot, source)

    def _ask_by_hand(self, policy: Policy, slot: datetime, source: str) -> None:
        """A person sees whether it worked, and else tries again."""
        agenda = self.agenda
        request = PlanRequest(policy=policy.name, slot=slot, source=source)
        if self.awake() > agenda.time:
            agenda.at(self.awake(), self._ask_by_hand, policy, slot, source)
            return
        try:
            self._invoke("plan_snapshots", lambda on: on.planner.plan(request))
        except Refused:
            agenda.note("points by hand refused", source)
        except (LastgoodError, Killed):
            agenda.after(300, self._ask_by_hand, policy, slot, source)
        else:
            agenda.note("points by hand", source)
            self.promises.by_hand(policy, slot, source)

    def _lose_the_ledger(self) -> None:
        """At rest; what is in flight at that moment would be lost with it."""
        now = self.agenda.time
        if self.ledger._flying or self.takes.open or self.records.open or self.awake() > now:
            self.agenda.at(now + 20 * MINUTE, self._lose_the_ledger)
            return
        self.agenda.note("ledger lost")
        self.promises.lost()
        self.lost_at = now
        vars(self.ledger).update(vars(MemoryLedger()))
        self.agenda.after(self.agenda.between(60, 3600), partial(self.sweep, rebuild=True))

    def awake(self) -> datetime:
        """When functions may run: now, or when the outage is over."""
        now = self.agenda.time
        if self.outages and now < self.outages[-1].end:
            return self.outages[-1].end
        return now

    def _is_ledger_down(self) -> bool:
        return bool(self.ledger_down) and self.agenda.time < self.ledger_down[-1].end


def slots_of(policy: Policy, day: date) -> list[datetime]:
    """The slots of a day of UTC, read by hand: those that daylight saving skips, too."""
    schedule = policy.schedules[0]
    zone = ZoneInfo(schedule.timezone)
    minute, hour = (int(text) for text in schedule.cron.split()[:2])
    weekdays = {"web-daily": range(7), "data-twice-weekly": (2, 6), "estate-weekly": (5,)}
    found = []
    for local in (day - DAY, day, day + DAY):
        if local.weekday() in weekdays[policy.name]:
            slot = datetime(local.year, local.month, local.day, hour, minute, tzinfo=zone)
            if slot.astimezone(UTC).date() == day:
                found.append(slot.astimezone(UTC))
    return found


def _patience(function: str) -> Patience:
    return Patience(lease=timedelta(seconds=BY_NAME[function].timeout + 10))
