"""Every key of the ledger's table, and what is found by it.

=====================  ========================  ==============================================
partition ``pk``       sort ``sk``               item
=====================  ========================  ==============================================
``POINT#<point>``      ``POINT``                 a recovery point, with manifest and history
``POINT#<point>``      ``SNAPSHOT#<snapshot>``   leads from a member to a point taken one by one
``POINT#<point>``      ``DOUBT``                 it may have more snapshots than members
``POINT#<point>``      ``COPY#<a>#<region>``     its copy in a Region of account a
``POINT#<point>``      ``RESTORES``              which restores are made from it just now
``PLACE#<a>#<region>`` ``SLOTS``                 the slots of that place, and who holds them
``RUN#<run>``          ``RUN``                   a run
``RUN#<run>``          ``COUNT#<shard>``         how many of its points ended, and how
``RUN#<run>``          ``ELSEWHERE#<point>``     a point that another run had taken before
``RUN#<run>``          ``FAILURE#<point>``       a point of it that failed, and why
``SOURCES#<p>#<n>``    ``SOURCE#<source>``       a source of policy p, on one of 16 partitions
``LAUNCH#<p>#<id>``    ``LAUNCH``                launch attributes of a source of policy p
``NOTICE#<key>``       ``NOTICE``                people were told of this
``HOLD#<source>``      ``HOLD``                  no point of the source may be deleted
``RESTORE#<restore>``  ``RESTORE``               a restore
``RESTORING#<i>``      ``RESTORING``             the one restore in place that works at instance i
``NAME#<name>``        ``SOURCE#<source>``       a source that had this Name
``PLAN#<plan>``        ``PLAN``                  the head of a plan of what to prune
``PLAN#<plan>``        ``SLICE#<number>``        what became of a slice of it
``POLICIES``           ``POLICY#<p>``            a policy that was deployed once
``POLICIES``           ``COPIES#<p>#<a>#<r>``    since when policy p has copies in Region r of a
``CHAT#<signature>``   ``REQUEST``               a request of chat, which counts once
``CHAT#<restore>``     ``CONVERSATION``          where chat tells of a restore, and what it told
``REFUSED#<day>``      ``<time>#<key>``          somebody asked in chat for what he may not
=====================  ========================  ==============================================

Three sparse indexes: ``listing`` (points of a source, its copies in a place, its restores, runs of
a policy; by slot, or by when they were asked for),
``by_snapshot`` (the point that a snapshot leads to), ``in_flight`` (what is not settled: points,
copies by place, doubts, restores).
"""

from datetime import datetime

from lastgood.domain.names import instant, shard
from lastgood.domain.place import Place

SHARDS = 16
"""Partitions for what all points of a run or policy share. One takes 1,000 writes a second, and
a write waits while another of the same item is under way."""

POINT = "POINT"
RUN = "RUN"
COUNT = "COUNT#"
ELSEWHERE = "ELSEWHERE#"
FAILURE = "FAILURE#"
DOUBT = "DOUBT"
COPY = "COPY#"
SLOTS = "SLOTS"
LAUNCH = "LAUNCH"
NOTICE = "NOTICE"
HOLD = "HOLD"
RESTORE = "RESTORE"
RESTORING = "RESTORING"
RESTORES = "RESTORES"
SOURCE = "SOURCE#"
PLAN = "PLAN"
SLICE = "SLICE#"
POLICIES = "POLICIES"
POLICY = "POLICY#"
REQUEST = "REQUEST"
CONVERSATION = "CONVERSATION"

LISTING = "listing"
BY_SNAPSHOT = "by_snapshot"
IN_FLIGHT = "in_flight"

Key = dict[str, str]


def point(point_id: str) -> Key:
    return {"pk": f"POINT#{point_id}", "sk": POINT}


def member(point_id: str, snapshot: str) -> Key:
    return {"pk": f"POINT#{point_id}", "sk": f"SNAPSHOT#{snapshot}"}


def run(run_id: str) -> Key:
    return {"pk": f"RUN#{run_id}", "sk": RUN}


def run_count(run_id: str, source: str) -> Key:
    return {"pk": f"RUN#{run_id}", "sk": f"{COUNT}{shard(source, SHARDS):02}"}


def run_elsewhere(run_id: str, point_id: str) -> Key:
    return {"pk": f"RUN#{run_id}", "sk": f"{ELSEWHERE}{point_id}"}


def run_failure(run_id: str, point_id: str) -> Key:
    return {"pk": f"RUN#{run_id}", "sk": f"{FAILURE}{point_id}"}


def doubt(point_id: str) -> Key:
    return {"pk": f"POINT#{point_id}", "sk": DOUBT}


def copy(point_id: str, place: Place) -> Key:
    return {"pk": f"POINT#{point_id}", "sk": f"{COPY}{place.account}#{place.region}"}


def slots(place: Place) -> Key:
    return {"pk": f"PLACE#{place.account}#{place.region}", "sk": SLOTS}


def copies_of(source_id: str, place: Place) -> str:
    return f"COPIESOF#{source_id}#{place.account}#{place.region}"


def copies_to(place: Place) -> str:
    return f"COPIES#{place.account}#{place.region}"


def launch(policy: str, source_id: str) -> Key:
    return {"pk": f"LAUNCH#{policy}#{source_id}", "sk": LAUNCH}


def notice(key: str) -> Key:
    return {"pk": f"NOTICE#{key}", "sk": NOTICE}


def chat_request(key: str) -> Key:
    return {"pk": f"CHAT#{key}", "sk": REQUEST}


def conversation(restore: str) -> Key:
    return {"pk": f"CHAT#{restore}", "sk": CONVERSATION}


def chat_refusal(at: datetime, key: str) -> Key:
    """By day in UTC, so that people list one with a query."""
    return {"pk": f"REFUSED#{instant(at)[:10]}", "sk": f"{instant(at)}#{key}"}


def hold(source_id: str) -> Key:
    return {"pk": f"HOLD#{source_id}", "sk": HOLD}


def restores_from(point_id: str) -> Key:
    return {"pk": f"POINT#{point_id}", "sk": RESTORES}


def restore(restore_id: str) -> Key:
    return {"pk": f"RESTORE#{restore_id}", "sk": RESTORE}


def restoring(instance: str) -> Key:
    return {"pk": f"RESTORING#{instance}", "sk": RESTORING}


def restores_of(source_id: str) -> str:
    return f"RESTORESOF#{source_id}"


def name(name: str, source_id: str = "") -> Key:
    """Without a source, how the sort keys of all begin."""
    return {"pk": f"NAME#{name}", "sk": f"{SOURCE}{source_id}"}


def plan(plan_id: str) -> Key:
    return {"pk": f"PLAN#{plan_id}", "sk": PLAN}


def slice_of(plan_id: str, number: int) -> Key:
    return {"pk": f"PLAN#{plan_id}", "sk": f"{SLICE}{number:06}"}


def policy(name: str) -> Key:
    return {"pk": POLICIES, "sk": f"{POLICY}{name}"}


def copied(policy: str, place: Place | None = None) -> Key:
    """Without a place, how the sort keys of all begin."""
    where = f"{place.account}#{place.region}" if place else ""
    return {"pk": POLICIES, "sk": f"COPIES#{policy}#{where}"}


def source(policy: str, source_id: str) -> Key:
    return {
        "pk": sources_of(policy, shard(source_id, SHARDS)),
        "sk": f"{SOURCE}{source_id}",
    }


def sources_of(policy: str, number: int) -> str:
    return f"SOURCES#{policy}#{number:02}"


def points_of(source_id: str) -> str:
    return f"POINTS#{source_id}"


def runs_of(policy: str) -> str:
    return f"RUNS#{policy}"


def by_slot(slot: datetime, id_: str) -> str:
    return f"{instant(slot)}#{id_}"


def by_turn(slot: datetime, less_gib: int, id_: str) -> str:
    """``less_gib`` is the size, below zero; no volume has a million GiB."""
    return by_slot(slot, f"{1_000_000 + less_gib:06}#{id_}")


def flight(number: int) -> str:
    return f"FLIGHT#{number:02}"
