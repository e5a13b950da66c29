"""EventBridge Scheduler: one schedule for each cron of each policy, and those of our own."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra import grants
from infra.catalog import SLOT, Row, Scheduled, Timed
from infra.grants import Places
from infra.policies import schedule_names
from lastgood.domain.policy import Policy, Schedule

GROUP = "lastgood"

ATTEMPTS = 185
"""The most that Scheduler makes: how late a run may start is what ends them."""

AT_ONCE = scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF")


class Schedules(Construct):
    """The group of all of them. What cannot be invoked goes to a function's dead letters."""

    def __init__(self, scope: Construct, construct_id: str, *, places: Places) -> None:
        super().__init__(scope, construct_id)
        self._places = places
        self.group = scheduler.CfnScheduleGroup(self, "Group", name=GROUP)

    def of_policies(
        self,
        policies: Iterable[Policy],
        *,
        trigger: Scheduled,
        planner: lambda_.IFunction,
        dead_letters: sqs.IQueue,
    ) -> None:
        """``planner`` is invoked for each slot of each policy."""
        role = self._may_start("Role", "start the planner", planner, dead_letters)
        for policy in policies:
            for name, schedule in schedule_names(policy).items():
                self._schedule(
                    name,
                    description=f"Lastgood policy {policy.name}",
                    expression=schedule.expression,
                    timezone=schedule.timezone,
                    window=_window(schedule),
                    target=_target(
                        planner,
                        role,
                        dead_letters,
                        json.dumps({"policy": policy.name, "slot": SLOT}),
                        trigger.late,
                    ),
                )

    def of_row(
        self, row: Row, trigger: Timed, *, function: lambda_.IFunction, dead_letters: sqs.IQueue
    ) -> list[scheduler.CfnSchedule]:
        """Those that the row asks for."""
        role = self._may_start(
            f"{row.construct_id}Role", f"start {row.physical_name}", function, dead_letters
        )
        return [
            self._schedule(
                f"{row.physical_name}{time.suffix}",
                description=f"{row.description}: {time.often}",
                expression=time.expression,
                timezone="UTC",
                window=AT_ONCE,
                target=_target(function, role, dead_letters, json.dumps(time.given), trigger.late),
            )
            for time in trigger.times
        ]

    def _may_start(
        self,
        construct_id: str,
        what: str,
        function: lambda_.IFunction,
        dead_letters: sqs.IQueue,
    ) -> iam.Role:
        places = replace(
            self._places,
            function=function.function_arn,
            dead_letters=dead_letters.queue_arn,
        )
        return role_of_schedules(
            self,
            construct_id,
            group=GROUP,
            description=f"Lastgood's schedules: {what}",
            grant=grants.START,
            places=places,
        )

    def _schedule(
        self,
        name: str,
        *,
        description: str,
        expression: str,
        timezone: str,
        window: scheduler.CfnSchedule.FlexibleTimeWindowProperty,
        target: scheduler.CfnSchedule.TargetProperty,
    ) -> scheduler.CfnSchedule:
        return scheduler.CfnSchedule(
            self,
            name,
            name=name,
            # By reference, so that the group is made first and removed last.
            group_name=self.group.ref,
            description=description,
            schedule_expression=expression,
            schedule_expression_timezone=timezone,
            flexible_time_window=window,
            target=target,
        )


def role_of_schedules(
    scope: Construct,
    construct_id: str,
    *,
    group: str,
    description: str,
    grant: grants.Grant,
    places: Places,
) -> iam.Role:
    """Under which those of a group do what ``grant`` says."""
    arn = f"arn:{places.partition}:scheduler:{places.region}:{places.account}:schedule-group"
    return iam.Role(
        scope,
        construct_id,
        description=description,
        # As the Scheduler User Guide has it, "Confused deputy prevention".
        assumed_by=iam.ServicePrincipal(
            "scheduler.amazonaws.com",
            conditions={
                "StringEquals": {
                    "aws:SourceAccount": places.account,
                    "aws:SourceArn": f"{arn}/{group}",
                }
            },
        ),
        inline_policies={"Granted": grants.document([grant], places)},
    )


def _target(
    function: lambda_.IFunction,
    role: iam.Role,
    dead_letters: sqs.IQueue,
    given: str,
    late: timedelta,
) -> scheduler.CfnSchedule.TargetProperty:
    return scheduler.CfnSchedule.TargetProperty(
        arn=function.function_arn,
        role_arn=role.role_arn,
        input=given,
        retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
            maximum_event_age_in_seconds=int(late.total_seconds()),
            maximum_retry_attempts=ATTEMPTS,
        ),
        dead_letter_config=scheduler.CfnSchedule.DeadLetterConfigProperty(
            arn=dead_letters.queue_arn
        ),
    )


def _window(schedule: Schedule) -> scheduler.CfnSchedule.FlexibleTimeWindowProperty:
    if schedule.window is None:
        return AT_ONCE
    return scheduler.CfnSchedule.FlexibleTimeWindowProperty(
        mode="FLEXIBLE",
        maximum_window_in_minutes=int(schedule.window.total_seconds()) // 60,
    )
