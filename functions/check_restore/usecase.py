"""Whether what was restored works: EC2's status checks, and a command if one was asked for."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from lastgood.domain.policy import Mode
from lastgood.domain.restoring import STEPS, CommandCheck, Evidence, Restore
from lastgood.errors import CheckFailed
from lastgood.ports import Clock, CommandResult, Commands, Health, Ledger, Machines
from lastgood.stepping import Advanced, StepRequest, Walk, heed

IMPAIRED_FOR = timedelta(minutes=5)
"""An instance may be impaired for a moment as it starts; for so long, it stays so."""
AGENT_FOR = timedelta(minutes=5)
"""How long the SSM agent may take to report, from the beginning of the check: it starts as the
instance does, well before the status is ok."""

AGENT_BACK_FOR = timedelta(minutes=15)
"""The same of an agent that reported before: that it does not any more is no small thing, and the
status of some types is not ok for long."""
STATUS_OF_OLD = timedelta(minutes=3)
"""For so long what status checks say may be of the root that was there before: EC2 looks once a
minute, and the instance runs on while its root is replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checker:
    ledger: Ledger
    machines: Callable[[str], Machines]
    commands: Callable[[str], Commands]
    clock: Clock

    def step(self, request: StepRequest) -> dict[str, Any]:
        """Raises CheckFailed: it does not work; and as ``Walk.step``."""
        return self._walk.step(request, {"check": self._check})

    @property
    def _walk(self) -> Walk:
        return Walk(ledger=self.ledger, clock=self.clock)

    def _check(self, restore: Restore, now: datetime) -> Advanced:
        heed(restore)
        if restore.evidence and restore.evidence.passed:
            # It was done, and the answer was lost.
            return Advanced(restore=restore, done=True)
        if restore.request.mode is Mode.VOLUMES:
            return self._passed(restore, now, "volumes made; nothing runs that could be checked")
        plan = restore.in_place
        if plan is not None and not plan.was_running:
            return self._passed(restore, now, "stopped, as it was: its volumes are in their places")
        replaced = restore.step(STEPS["replace"])
        if replaced and replaced.ended_at and now - replaced.ended_at < STATUS_OF_OLD:
            return Advanced(restore=restore, wait=replaced.ended_at + STATUS_OF_OLD - now)
        ids = restore.ids("instance") or (restore.source.id,)
        machines = self.machines(restore.place.region)
        there = machines.instances_by_id(ids).values()
        for one in there:
            if one.gone:
                raise CheckFailed(f"{one.id} is {one.state}")
        health = machines.health(one.id for one in there if one.state == "running")
        healthy = [one for one, of in health.items() if (of.instance, of.system) == ("ok", "ok")]
        step = restore.step(STEPS["check"])
        since = now - (step.began_at if step else now)
        if len(healthy) < len(ids):
            self._impaired(restore, health, since, now)
            return Advanced(restore=restore)
        status = "instance and system status ok"
        if restore.request.check is None:
            return self._passed(restore, now, status, only="no command was asked for")
        return self._command(restore, restore.request.check, ids[0], status, since, now)

    def _impaired(
        self, restore: Restore, health: dict[str, Health], since: timedelta, now: datetime
    ) -> None:
        bad = [
            f"{id_}: instance {one.instance}, system {one.system}"
            for id_, one in health.items()
            if "impaired" in (one.instance, one.system)
        ]
        if bad and since > IMPAIRED_FOR:
            status = "; ".join(bad)
            evidence = Evidence(at=now, passed=False, status=status)
            self._walk.save(restore, replace(restore, evidence=evidence))
            raise CheckFailed(f"status checks: {status}")

    def _command(
        self,
        restore: Restore,
        check: CommandCheck,
        instance: str,
        status: str,
        since: timedelta,
        now: datetime,
    ) -> Advanced:
        commands = self.commands(restore.place.region)
        if restore.command is None:
            if not commands.managed(instance):
                reached = restore.in_place is not None and restore.in_place.reached
                if since < (AGENT_BACK_FOR if reached else AGENT_FOR):
                    return Advanced(restore=restore)
                if reached:
                    raise CheckFailed(f"SSM reached {instance} before, and does not any more")
                only = f"status only: SSM does not reach {instance}"
                return self._passed(restore, now, status, only=only)
            sent = commands.send(instance, check, f"Lastgood: check of {restore.id}")
            return Advanced(restore=replace(restore, command=sent))
        result = commands.result(restore.command, instance)
        if result is None or not result.over:
            return Advanced(restore=restore)
        evidence = self._evidence(status, check, result, now)
        if not result.ok:
            self._walk.save(restore, replace(restore, evidence=evidence))
            raise CheckFailed(
                f"the command on {instance} ended with {result.status}: "
                f"{result.output[-500:] or 'no output'}"
            )
        return Advanced(restore=replace(restore, evidence=evidence), done=True)

    def _evidence(
        self, status: str, check: CommandCheck, result: CommandResult, now: datetime
    ) -> Evidence:
        return Evidence(
            at=now,
            passed=result.ok,
            status=status,
            command="\n".join(check.commands),
            output=result.output,
        )

    def _passed(self, restore: Restore, now: datetime, status: str, only: str = "") -> Advanced:
        evidence = Evidence(at=now, passed=True, status=status, only_status=only)
        return Advanced(restore=replace(restore, evidence=evidence), done=True)
