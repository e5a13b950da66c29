"""The environment that the stack gives its functions, read in one place."""

from datetime import timedelta

import pytest

from lastgood.errors import CallRefused
from lastgood.settings import PREFIX, Settings

NEEDED = {
    "LASTGOOD_ACCOUNT": "123456789012",
    "LASTGOOD_REGION": "eu-west-1",
    "LASTGOOD_TABLE": "lastgood-ledger",
    "LASTGOOD_BUS": "lastgood",
    "LASTGOOD_POLICIES": "/lastgood/policies",
    "LASTGOOD_TIMEOUT": "120",
}
OPTIONAL = {
    "LASTGOOD_QUEUE": "https://sqs/queue",
    "LASTGOOD_DEAD_LETTERS": "https://sqs/dead-letters",
    "LASTGOOD_TAKE_QUEUE": "https://sqs/take",
    "LASTGOOD_PLANNER": "lastgood-plan-snapshots",
    "LASTGOOD_TOPIC": "arn:aws:sns:eu-west-1:123456789012:lastgood-notices",
    "LASTGOOD_PRUNER": "lastgood-prune-snapshots",
    "LASTGOOD_PRUNE_QUEUE": "https://sqs/prune",
    "LASTGOOD_COPY_QUEUE": "https://sqs/copy",
    "LASTGOOD_PLANS": "lastgood-plans-123456789012-eu-west-1",
    "LASTGOOD_ACCOUNTS": "123456789012,210987654321",
    "LASTGOOD_MEMBERS": "123456789012,333333333333",
    "LASTGOOD_FUNCTION": "lastgood-plan-snapshots",
    "LASTGOOD_EXTERNAL_ID": "lastgood-123456789012",
    "LASTGOOD_MACHINE": "arn:aws:states:eu-west-1:123456789012:stateMachine:lastgood-restore",
    "LASTGOOD_ENDINGS": "lastgood-restores",
    "LASTGOOD_HOME": "eu-west-1",
    "LASTGOOD_ENDING_ROLE": "arn:aws:iam::123456789012:role/ending",
    "LASTGOOD_ENDING_LETTERS": "arn:aws:sqs:eu-west-1:123456789012:endings-dead-letters",
    "LASTGOOD_CLONER": "lastgood-clone-instance",
    "LASTGOOD_CHAT": "/lastgood/chat",
    "LASTGOOD_SECRET": "lastgood/slack",
    "LASTGOOD_SLACK_HOOKS": "https://hooks.slack-gov.com/",
    "LASTGOOD_RECEIVES": "12",
    "LASTGOOD_WORKERS": "10",
}


def test_each_setting_is_a_variable_of_its_name():
    settings = Settings.from_env(NEEDED | OPTIONAL)

    read = {f"{PREFIX}{name.upper()}": getattr(settings, name) for name in Settings.__slots__}
    assert read == NEEDED | OPTIONAL


def test_a_function_without_a_queue_needs_no_variables_for_one():
    settings = Settings.from_env(NEEDED)

    assert (settings.queue, settings.dead_letters, settings.take_queue) == ("", "", "")
    assert (settings.receives, settings.workers) == ("1", "1")


@pytest.mark.parametrize("name", NEEDED)
def test_a_variable_that_is_missing_is_named(name):
    without = {key: value for key, value in NEEDED.items() if key != name}

    with pytest.raises(CallRefused, match=rf"^not set: {name}\. .* redeploy it"):
        Settings.from_env(without)


def test_all_variables_that_are_missing_are_named_at_once():
    with pytest.raises(CallRefused) as refused:
        Settings.from_env(OPTIONAL)

    assert str(refused.value).startswith(f"not set: {', '.join(NEEDED)}. ")


def test_other_variables_are_none_of_our_business():
    others = {"AWS_REGION": "eu-west-1", "LASTGOOD_SOMETHING": "new", "account": "x"}

    assert Settings.from_env(NEEDED | others) == Settings.from_env(NEEDED)


def test_without_being_told_it_reads_the_process_environment(monkeypatch):
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)

    assert Settings.from_env().table == "lastgood-ledger"


@pytest.mark.parametrize("timeout", [1, 60, 900])
def test_a_lease_is_longer_than_a_worker_can_run(timeout):
    settings = Settings.from_env(NEEDED | {"LASTGOOD_TIMEOUT": str(timeout)})

    assert settings.lease == timedelta(seconds=timeout + 10)
