"""EventBridge Scheduler: one schedule for each cron of each policy."""

import json
from collections.abc import Iterable
from dataclasses import replace

from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra import grants
from infra.constructs.function import LATE
from infra.grants import Places
from infra.policies import schedule_names
from lastgood.domain.policy import Policy, Schedule

GROUP = "lastgood"

ATTEMPTS = 185
"""The most that Scheduler makes: how late a run may start is what ends them."""

SLOT = "<aws.scheduler.scheduled-time>"
"""Scheduler puts the instant here for which the run was due, also when it starts late."""


class PolicySchedulesGroup(Construct):
    """``planner`` is invoked for each slot of each policy; what cannot be invoked goes to
    ``dead_letters``."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        policies: Iterable[Policy],
        planner: lambda_.IFunction,
        dead_letters: sqs.IQueue,
        places: Places,
    ) -> None:
        super().__init__(scope, construct_id)
        self._planner = planner
        self._dead_letters = dead_letters
        self.group = scheduler.CfnScheduleGroup(self, "Group", name=GROUP)
        self._role = self._may_start_planning(places)
        for policy in policies:
            for name, schedule in schedule_names(policy).items():
                self._schedule(name, policy, schedule)

    def _may_start_planning(self, places: Places) -> iam.Role:
        group = f"arn:{places.partition}:scheduler:{places.region}:{places.account}:schedule-group"
        return iam.Role(
            self,
            "Role",
            description="Lastgood's schedules: start the planner",
            # As the Scheduler User Guide has it, "Confused deputy prevention".
            assumed_by=iam.ServicePrincipal(
                "scheduler.amazonaws.com",
                conditions={
                    "StringEquals": {
                        "aws:SourceAccount": places.account,
                        "aws:SourceArn": f"{group}/{GROUP}",
                    }
                },
            ),
            inline_policies={
                "Granted": grants.document(
                    [grants.START_PLANNING],
                    replace(
                        places,
                        function=self._planner.function_arn,
                        dead_letters=self._dead_letters.queue_arn,
                    ),
                )
            },
        )

    def _schedule(self, name: str, policy: Policy, schedule: Schedule) -> None:
        scheduler.CfnSchedule(
            self,
            name,
            name=name,
            # By reference, so that the group is made first and removed last.
            group_name=self.group.ref,
            description=f"Lastgood policy {policy.name}",
            schedule_expression=schedule.expression,
            schedule_expression_timezone=schedule.timezone,
            flexible_time_window=_window(schedule),
            target=scheduler.CfnSchedule.TargetProperty(
                arn=self._planner.function_arn,
                role_arn=self._role.role_arn,
                input=json.dumps({"policy": policy.name, "slot": SLOT}),
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    maximum_event_age_in_seconds=LATE.to_seconds(),
                    maximum_retry_attempts=ATTEMPTS,
                ),
                dead_letter_config=scheduler.CfnSchedule.DeadLetterConfigProperty(
                    arn=self._dead_letters.queue_arn
                ),
            ),
        )


def _window(schedule: Schedule) -> scheduler.CfnSchedule.FlexibleTimeWindowProperty:
    if schedule.window is None:
        return scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF")
    return scheduler.CfnSchedule.FlexibleTimeWindowProperty(
        mode="FLEXIBLE",
        maximum_window_in_minutes=int(schedule.window.total_seconds()) // 60,
    )
