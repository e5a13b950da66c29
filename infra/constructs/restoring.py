"""All that restores need in a Region, and nothing that is in another."""

from collections.abc import Sequence
from dataclasses import replace

from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from constructs import Construct

from infra import grants
from infra.catalog import BY_NAME, RESTORING
from infra.constructs.function import CatalogFunction
from infra.constructs.inbox import dead_letters
from infra.constructs.restore_machine import RestoreMachine
from infra.constructs.schedules import role_of_schedules
from infra.grants import ENDINGS, Places
from lastgood.settings import Settings

ENDING_LETTERS = f"{ENDINGS}-dead-letters"


class Restoring(Construct):
    """The functions of restores, their machine, and what ends it all in time: a group for the
    schedules that they make, the role of those, and dead letters for what Scheduler cannot start.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        layers: Sequence[lambda_.ILayerVersion],
        key: kms.IKey,
        places: Places,
        settings: Settings,
    ) -> None:
        super().__init__(scope, construct_id)
        self.group = scheduler.CfnScheduleGroup(self, "Endings", name=ENDINGS)
        self.ending_letters = dead_letters(self, "EndingLetters", ENDING_LETTERS, key)
        role = role_of_schedules(
            self,
            "RestoreEnding",
            group=ENDINGS,
            description="Lastgood's schedules: end what has a time to live",
            grant=grants.START_ENDINGS,
            places=replace(places, dead_letters=self.ending_letters.queue_arn),
        )
        self.functions = {
            name: CatalogFunction(
                self,
                BY_NAME[name].construct_id,
                row=BY_NAME[name],
                layers=layers,
                key=key,
                places=replace(places, ending_role=role.role_arn),
                settings=replace(
                    settings,
                    endings=ENDINGS,
                    ending_role=role.role_arn,
                    ending_letters=self.ending_letters.queue_arn,
                ),
            )
            for name in RESTORING
        }
        self.machine = RestoreMachine(
            self,
            "Machine",
            functions={name: one.function for name, one in self.functions.items()},
            key=key,
            places=places,
        ).machine
