"""``policies.schema.json`` is current, accepts what is right and marks what an editor can see."""

import json
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support.policy_schema import FILE, ROOT, schema_text

VALIDATOR = jsonschema.Draft202012Validator(json.loads(FILE.read_text()))


def web(**keys: Any) -> dict[str, Any]:
    policy = {
        "select": {"resource": "instance", "tags": {"backup": ["daily"]}},
        "retention": {"keep_daily": 7},
    }
    return {"policies": {"web": {**policy, **keys}}}


def test_the_committed_schema_is_current():
    assert FILE.read_text() == schema_text(), (
        "run: .venv/bin/python -m tests.support.policy_schema --write"
    )


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(VALIDATOR.schema)


def test_the_policies_of_a_fresh_deployment_pass():
    VALIDATOR.validate(yaml.safe_load((ROOT / "policies.yaml").read_text()))


def test_the_first_line_of_the_policies_leads_editors_to_the_schema():
    first = (ROOT / "policies.yaml").read_text().splitlines()[0]

    assert first == f"# yaml-language-server: $schema=./{FILE.name}"


@pytest.mark.parametrize(
    "document",
    [
        web(),
        web(schedules=[{"cron": "0 3 * * ? *", "timezone": "Europe/Berlin", "window": "15m"}]),
        web(retention={"keep_last": "all", "keep_within": "2y5m7d3h"}),
        web(copies=[{"region": "eu-west-1", "complete_within": "4h", "retention": None}]),
        {"policies": {}, "defaults": None},
        {"policies": {"web": {}}, "defaults": {"rpo": "26h", "select": {"resource": "volume"}}},
    ],
)
def test_a_sound_document_passes(document):
    VALIDATOR.validate(document)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({}, ""),
        ({"policies": {}, "polices": {}}, ""),
        ({"policies": {"Web": {}}}, "policies"),
        (web(retenion={}), "policies/web"),
        (web(name="web"), "policies/web"),
        (web(select={"resource": "disk"}), "policies/web/select/resource"),
        (web(select={"tags": {"backup": "daily"}}), "policies/web/select/tags/backup"),
        (web(select={"tags": {"backup": []}}), "policies/web/select/tags/backup"),
        (web(select={"tags": {}}), "policies/web/select/tags"),
        (web(select={"regions": ["mars"]}), "policies/web/select/regions/0"),
        (web(schedules=[{"window": "15m"}]), "policies/web/schedules/0"),
        (web(schedules=[{"cron": "0 3 * * *"}]), "policies/web/schedules/0/cron"),
        (
            web(schedules=[{"cron": "0 3 * * ? *", "window": "15 min"}]),
            "policies/web/schedules/0/window",
        ),
        (web(retention={"keep_daily": -1}), "policies/web/retention/keep_daily"),
        (web(retention={"keep_daily": "7"}), "policies/web/retention/keep_daily"),
        (web(retention={"keep_within": "14x"}), "policies/web/retention/keep_within"),
        (web(retention={"at_least": 0}), "policies/web/retention/at_least"),
        (web(copies=[{"account": "111122223333"}]), "policies/web/copies/0"),
        (
            web(copies=[{"region": "eu-west-1", "account": 111122223333}]),
            "policies/web/copies/0/account",
        ),
        (web(encryption="none"), "policies/web/encryption"),
        (web(rpo=26), "policies/web/rpo"),
        (web(max_deletes={"share": 0}), "policies/web/max_deletes/share"),
        (web(tags={"cost-centre": 42}), "policies/web/tags/cost-centre"),
        ({"policies": {}, "defaults": {"rpoo": "26h"}}, "defaults"),
    ],
)
def test_a_mistake_is_marked_where_it_is(document, place):
    errors = list(VALIDATOR.iter_errors(document))

    assert place in {"/".join(map(str, error.absolute_path)) for error in errors}


def test_every_key_is_described_for_the_editor():
    for name, definition in VALIDATOR.schema["$defs"].items():
        for key, value in definition.get("properties", {}).items():
            assert value.get("description"), f"{name}.{key} has no description"
