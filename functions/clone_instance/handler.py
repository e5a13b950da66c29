"""Invoked by people, pipelines and chat: make a restore, or say and change what becomes of one."""

from functools import cache

from clone_instance.finding import Finder
from clone_instance.planning import RestorePlanner
from clone_instance.telling import Answer
from clone_instance.usecase import RestoreDesk
from lastgood import runtime
from lastgood.runtime import Payload


@cache
def desk() -> RestoreDesk:
    ledger, here = runtime.ledger(), runtime.home()
    finder = Finder(
        ledger=ledger,
        policies=runtime.policies(),
        machines=runtime.machines,
        here=here,
        alone=runtime.settings().alone,
    )
    return RestoreDesk(
        finder=finder,
        planner=RestorePlanner(finder=finder, ledger=ledger, machines=runtime.machines, here=here),
        ledger=ledger,
        machines=runtime.machines,
        machine=runtime.restore_machine(),
        endings=runtime.endings(),
        news=runtime.news(),
        clock=runtime.clock(),
    )


@runtime.answering
def handler(given: Payload, request_id: str) -> Answer | str:
    answer = desk().answer(given, request_id)
    if isinstance(answer, Answer):
        runtime.logger.info("answered", status=answer.status, restore=answer.restore)
    return answer
