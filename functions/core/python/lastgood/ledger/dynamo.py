"""The ledger on DynamoDB. Each change of a state is a conditional write, drawn where it is made."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from botocore.exceptions import ClientError

from lastgood.aws.faults import SOON, translated
from lastgood.codec import unstructure
from lastgood.domain.conversing import KEPT_FOR, ChatRefusal, Conversation
from lastgood.domain.copying import CopyStatus, PointCopy, Slots
from lastgood.domain.ended import Ended, counts_members
from lastgood.domain.manifest import LaunchAttributes, Manifest
from lastgood.domain.model import (
    Change,
    Claim,
    Doubt,
    Failure,
    Hold,
    Member,
    Method,
    Outcome,
    Planned,
    Point,
    PointStatus,
    Proof,
    Run,
    Source,
    SourceRecord,
)
from lastgood.domain.names import instant, shard
from lastgood.domain.place import Place
from lastgood.domain.prune_plan import PLAN_FOR, Applied, PrunePlan
from lastgood.domain.restoring import Restore
from lastgood.domain.taking import anchor
from lastgood.errors import CallRefused, Conflict, Throttled
from lastgood.ledger import items, keys
from lastgood.ledger.items import Item
from lastgood.ports import Settled

MOST_KEYS = 100
"""Of one BatchGetItem (DynamoDB API Reference)."""
READ_AT_ONCE = 25
"""Of what an index leads to: copies that are under way come first, then what is next."""
ON_RECORD = "attribute_exists(pk)"
CONDITION = "ConditionalCheckFailed"
NO_REASON = "None"


class _NotMet(Exception):
    """A transaction's conditions did not hold: the reason of each of its writes, in order."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__(", ".join(reasons))
        self.reasons = reasons


class DynamoLedger:
    """``Ledger`` on one table. The client is given, so that tests and Regions choose theirs."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    # runs

    def open_run(self, run: Run) -> None:
        """A schedule is delivered twice::

            planner A                     item                          planner B
            put if not there  ---------->  started by A
                                                       <--------------- put if not there: refused

        The run keeps the start of the first.
        """
        self._put_new(items.run(run), f"open run {run.id}")

    def plan_run(self, run: str, planned: Planned) -> None:
        """Two planners of one run; the one that is behind does not undo what the other did::

            planner A                     item                          planner B
            1 Region done  ------------->  1 done
                                           2 done      <--------------- 2 Regions done
            1 Region done, again: refused, as 2 are done

        How many Regions are done never becomes less.
        """
        self._update(
            keys.run(run),
            f"record the plan of run {run}",
            "SET planned = :planned",
            {
                ":planned": items.value(planned),
                ":done": {"N": str(len(planned.regions))},
            },
            condition="attribute_exists(pk) AND "
            "(attribute_not_exists(planned) OR size(planned.regions) <= :done)",
        )

    def planned(self, run: str) -> Planned | None:
        item = self._get(keys.run(run), f"read the plan of run {run}")
        return items.from_item(Run, item).planned if item else None

    def run(self, run: str) -> Run | None:
        found = self._query(
            f"read run {run}",
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": keys.run(run)["pk"]}},
            ConsistentRead=True,
        )
        return items.counted_run(found, self.point)

    def runs(self, policy: str) -> Iterator[Run]:
        for item in self._listed(keys.runs_of(policy)):
            yield items.from_item(Run, item)

    def failures(self, run: str) -> Iterator[Failure]:
        for item in self._query(
            f"read what failed of run {run}",
            KeyConditionExpression="pk = :pk AND begins_with(sk, :failure)",
            ExpressionAttributeValues={
                ":pk": {"S": keys.run(run)["pk"]},
                ":failure": {"S": keys.FAILURE},
            },
        ):
            yield items.from_item(Failure, item)

    # a point, from claim to settlement

    def claim(self, claim: Claim) -> Point:
        """Two workers have a message for the same point; time goes down::

            worker A                      item                          worker B
            put if not there  ---------->  CREATING, owner A
                                                            <---------- put if not there: refused
                                                            <---------- CREATING, lease runs:
                                                                        Conflict, comes later
            create call, killed            lease of A runs out
                                           CREATING, owner B <--------- update if lease is over;
                                                                        sees attempted_at of A,
                                                                        so looks up before creating
            answer if owner is A: refused

        ``attempted_at`` is written with the claim, before any create call: a worker that is
        killed between the two costs a look-up, one that is killed after the call no second set.
        """
        first = items.first_claim(claim)
        try:
            self._transact(
                f"claim {claim.id}",
                self._put(items.point(first), "attribute_not_exists(pk)"),
                self._seen(claim, claim.at),
            )
        except _NotMet:
            return self._claim_again(claim)
        return replace(first, attempted_at=None)

    def _claim_again(self, claim: Claim) -> Point:
        known = self._known(claim.id)
        if known.status is not PointStatus.CREATING:
            return known
        updated = self._update(
            keys.point(claim.id),
            f"claim {claim.id}",
            "SET #owner = :me, lease_until = :until, "
            "attempted_at = if_not_exists(attempted_at, :now)",
            {
                ":me": {"S": claim.owner},
                ":until": {"S": instant(items.lease_end(claim))},
                ":now": items.value(claim.at),
                ":second": {"S": instant(claim.at)},
                ":creating": {"S": PointStatus.CREATING},
            },
            # released, or mine already, or run out
            condition="#status = :creating AND (attribute_not_exists(#owner) OR #owner = :me "
            "OR lease_until <= :second)",
            old=True,
        )
        if updated is None:
            raise Conflict(f"{claim.id} is being taken by another worker")
        before = items.from_item(Point, updated)
        return replace(before, owner=claim.owner, lease_until=items.lease_end(claim))

    def taken_elsewhere(self, run: str, point: str, at: datetime) -> None:
        """One item a point, put if it is not there: however often it is said, it counts once."""
        expiry = {"ttl": items.expires(at, items.RUN_FOR)}
        self._put_new(
            items.to_item({**keys.run_elsewhere(run, point), **expiry}),
            f"count {point} in run {run}",
        )

    def attempt(self, point: str, owner: str, at: datetime) -> None:
        """Only who holds the point may send a create call for it::

            worker A                      item                          worker B
            (slow)                         CREATING, owner B <--------- claim
            if owner is A: refused
                                           attempted_at now  <--------- if owner is B

        Who lost the point learns it before the call goes out.
        """
        self._held(point, owner, "SET attempted_at = :now", {":now": items.value(at)})

    def release(self, point: str, owner: str, why: str, at: datetime, *, untouched: bool) -> None:
        """What is given back is free at once; what was taken over meanwhile is left alone::

            worker A                      item                          worker B
            if owner is A  ------------->  CREATING, no owner
                                           CREATING, owner B <--------- claim, without waiting
            if owner is A: refused

        A refused release changes nothing: there is nothing left to give back.
        """
        attempted = ", attempted_at" if untouched else ""
        self._held(
            point,
            owner,
            f"SET cause = :why, lease_until = :free REMOVE #owner{attempted}",
            {":why": {"S": why}, ":free": {"S": instant(at)}},
        )

    def retake(self, point: Point, at: datetime) -> bool:
        """Two sweeps find the same point idle; one of them asks for it again::

            sweep A                       item                          sweep B
            reads: free since 02:10        CREATING, free since 02:10   reads the same
            if still so  --------------->  CREATING, free since now
                                                             <--------- if still so: refused

        A worker that took it meanwhile has changed the time as well.
        """
        if point.lease_until is None:
            return False
        updated = self._update(
            keys.point(point.id),
            f"ask again for {point.id}",
            "SET lease_until = :now, retakes = if_not_exists(retakes, :none) + :one",
            {
                ":now": {"S": instant(at)},
                ":none": {"N": "0"},
                ":one": {"N": "1"},
                ":seen": {"S": instant(point.lease_until)},
                ":creating": {"S": PointStatus.CREATING},
            },
            condition="#status = :creating AND lease_until = :seen",
        )
        return updated is not None

    def doubt(self, point: str, at: datetime) -> None:
        with translated("dynamodb", f"note a doubt about {point}"):
            self._client.put_item(
                TableName=self._table, Item=items.doubt(Doubt(point=point, since=at))
            )

    def doubts(self) -> Iterator[Doubt]:
        for item in self._flight(keys.DOUBT):
            yield items.read_doubt(item)

    def dismiss(self, doubt: Doubt) -> None:
        """Only the doubt that was looked into; a newer one of the same point stays."""
        item = items.doubt(doubt)
        with translated("dynamodb", f"dismiss the doubt about {doubt.point}"):
            try:
                self._client.delete_item(
                    TableName=self._table,
                    Key=items.to_item(keys.doubt(doubt.point)),
                    ConditionExpression="claimed_at = :since",
                    ExpressionAttributeValues={":since": item["claimed_at"]},
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                return

    def answer(
        self,
        point: Point,
        at: datetime,
        members: tuple[Member, ...],
        manifest: Manifest,
        notes: tuple[str, ...],
    ) -> Point:
        """A worker is slow, its lease ends, and another takes over::

            worker A (owner A)            item                          worker B
            create call ............       CREATING, owner A
            (slow)                         CREATING, owner B <--------- claim
                                                             <--------- look-up finds A's snapshots
                                           PENDING           <--------- answer if owner is B
            answer if owner is A: refused, Conflict

        Both would have written the same members: the set is found by its tag.
        """
        change = Change(at=at, status=PointStatus.PENDING, reason=f"{len(members)} snapshots")
        update, values = (
            "SET #status = :pending, members = :members, manifest = :manifest, notes = :notes, "
            "anchor = :anchor, history = list_append(history, :change) "
            "REMOVE #owner, lease_until, attempted_at, cause",
            {
                ":pending": {"S": PointStatus.PENDING},
                ":members": items.value(members),
                ":manifest": items.value(manifest),
                ":notes": items.value(list(notes)),
                ":anchor": {"S": anchor([member.snapshot for member in members])},
                ":change": items.value([change]),
            },
        )
        if point.method is Method.ONE_BY_ONE:
            # Before the point is PENDING: no event may find one member and not the other.
            for member in members:
                self._put_lead(point.id, member.snapshot, at)
        return items.from_item(Point, self._held(point.id, point.owner or "", update, values))

    def settle(self, point: Point, outcome: Outcome) -> Settled:
        """The completion event comes twice, and a failure with it; one transaction decides::

            first event                   point        run      source      second event
            if PENDING: ---------------->  AVAILABLE    +1       newest
                                                                 <--------- if PENDING: refused;
                                                                            is AVAILABLE as well:
                                                                            nothing changed

        A source's ``last_available`` never goes back: when a newer point was available before,
        the transaction is repeated without it.
        """
        writes = [
            self._end(
                point.id,
                outcome,
                "#status = :pending",
                {":pending": {"S": PointStatus.PENDING}},
                # Where members are noted one by one, a newer note than ours may be there.
                members=None if counts_members(point) else point.members,
            ),
            *self._counted(point.run, point, outcome),
        ]
        newest = (
            [self._in_transaction(**self._newest(point))]
            if outcome.status is PointStatus.AVAILABLE
            else []
        )
        for some in ([*writes, *newest], writes):
            try:
                self._transact(f"settle {point.id}", *some)
            except _NotMet as refused:
                if refused.reasons[0] != NO_REASON:
                    break
            else:
                return Settled(self._known(point.id), changed=True)
        return self._settled_before(point.id, outcome)

    def _settled_before(self, point: str, outcome: Outcome) -> Settled:
        known = self._known(point)
        if known.status is PointStatus.PENDING:
            # Another condition than its own, and that one holds by now.
            raise Throttled(f"settle {point}: its source was written meanwhile", SOON)
        if known.status is not outcome.status:
            raise Conflict(f"{point} cannot become {outcome.status}: it is {known.status}")
        return Settled(known, changed=False)

    def give_up(self, claim: Claim, outcome: Outcome) -> Point:
        """A worker gives up what it holds, or what nobody holds; never what another one holds::

            worker A                      item                          worker B
            release                        CREATING, no owner
                                           CREATING, owner B <--------- claim
            if free or mine: refused, Conflict: B goes on

        A point that was never claimed is put on record as it is given up.
        """
        known = self.point(claim.id)
        if known is None:
            failed = items.point(items.given_up(claim, outcome))
            writes = [self._put(failed, "attribute_not_exists(pk)"), self._seen(claim, claim.at)]
        else:
            writes = [
                self._end(
                    claim.id,
                    outcome,
                    "#status = :creating AND (attribute_not_exists(#owner) OR #owner = :me)",
                    {":creating": {"S": PointStatus.CREATING}, ":me": {"S": claim.owner}},
                )
            ]
        run = known.run if known else claim.run
        try:
            self._transact(f"give up {claim.id}", *writes, *self._counted(run, claim, outcome))
        except _NotMet as refused:
            known = self._known(claim.id)
            if known.status is not outcome.status:
                raise Conflict(f"{claim.id} is not ours to give up") from refused
            return known
        return self._known(claim.id)

    def expire(self, point: Point, at: datetime, reason: str) -> Point:
        """A person holds a point, or its source, while a worker is about to delete it::

            worker                        point        hold of source   person
            reads: AVAILABLE               AVAILABLE
                                           hold                         <--- hold the point
            if AVAILABLE, and no hold: refused, Conflict
                                           AVAILABLE    there           <--- or hold the source
            if there is none: refused, Conflict

        Who holds after the write is refused instead: the point is EXPIRED by then. What a restore
        is made from is held in the same way: see ``hold_for_restore``.
        """
        update = self._in_transaction(
            keys.point(point.id),
            "SET #status = :expired, history = list_append(history, :change)",
            {
                ":seen": {"S": point.status},
                ":expired": {"S": PointStatus.EXPIRED},
                ":change": items.value([Change(at=at, status=PointStatus.EXPIRED, reason=reason)]),
            },
            condition="#status = :seen AND attribute_not_exists(#hold)",
        )
        try:
            self._transact(
                f"expire {point.id}",
                update,
                self._no_hold(point.source.id),
                self._no_restore(point.id),
            )
        except _NotMet as refused:
            known = self._known(point.id)
            if known.status is PointStatus.EXPIRED:
                return known
            if known.status is not point.status:
                raise Conflict(f"{point.id} is {known.status} now") from refused
            if refused.reasons[-1] != NO_REASON:
                raise self._restored_from(point.id) from refused
            raise Conflict(f"{point.id} is {known.hold or 'held with its source'}") from refused
        return self._known(point.id)

    def exchange(self, point: Point, members: tuple[Member, ...], at: datetime) -> Point:
        """A copy in place is complete while a worker is about to delete the point::

            copier                        point                         worker
            reads: AVAILABLE, a and b      AVAILABLE, a and b
            a2 for a, if AVAILABLE
            with a  --------------------->  AVAILABLE, a2 and b
                                           EXPIRED, a2 and b  <-------- if AVAILABLE; deletes what
                                                                        the point has then
            again: refused, Conflict

        Members are compared by their snapshots, each where it stands. What a restore is made from
        is not exchanged: see ``hold_for_restore``.
        """
        before = list(enumerate(zip(point.members, members, strict=True)))
        other = [(index, old, new) for index, (old, new) in before if old != new]
        changes = "".join(f"members[{index}] = :new{index}, " for index, _, _ in other)
        unchanged = "".join(
            f" AND members[{index}].#snapshot = :old{index}" for index, _, _ in other
        )
        update = self._in_transaction(
            keys.point(point.id),
            f"SET {changes}anchor = :anchor, history = list_append(history, :change)",
            {
                **{f":new{index}": items.value(new) for index, _, new in other},
                **{f":old{index}": {"S": old.snapshot} for index, old, _ in other},
                ":anchor": {"S": anchor([one.snapshot for one in members])},
                ":change": items.value([items.exchange(point, members, at)]),
                ":available": {"S": PointStatus.AVAILABLE},
            },
            condition=f"#status = :available{unchanged}",
        )
        try:
            self._transact(f"exchange members of {point.id}", update, self._no_restore(point.id))
        except _NotMet as refused:
            known = self._known(point.id)
            if known.status is PointStatus.AVAILABLE and known.members == members:
                return known
            if refused.reasons[0] == NO_REASON:
                raise self._restored_from(point.id) from refused
            raise Conflict(f"{point.id} is {known.status}, or has other members now") from refused
        return self._known(point.id)

    def deleted(self, point: str, at: datetime) -> None:
        """A point leaves the listing with its snapshots; the record of it stays for a while::

        worker A                      item                          worker B
        deletes the snapshots          EXPIRED                      finds them gone
        if EXPIRED  ---------------->  DELETED    <---------------- if EXPIRED: refused; it
                                                                    is as it should be
        """
        change = Change(at=at, status=PointStatus.DELETED, reason="its snapshots are deleted")
        updated = self._update(
            keys.point(point),
            f"record that {point} is deleted",
            "SET #status = :deleted, #ttl = :ttl, history = list_append(history, :change) "
            "REMOVE listed, manifest",
            {
                ":deleted": {"S": PointStatus.DELETED},
                ":expired": {"S": PointStatus.EXPIRED},
                ":ttl": {"N": str(items.expires(at, items.DELETED_FOR))},
                ":change": items.value([change]),
            },
            condition="#status = :expired",
        )
        if updated is None and self._known(point).status is not PointStatus.DELETED:
            raise Conflict(f"{point} is not expired")

    def settle_member(self, point: Point, ended: Ended) -> Point:
        """The last two members end at once; each write answers with what both have said::

            event of m1                   members                       event of m2
            set m1  -------------------->  m1 done, m2 pending
                                           m1 done, m2 done  <--------- set m2: sees both, settles

        A point that has ended takes no more notes.
        """
        index = next(
            (i for i, member in enumerate(point.members) if member.snapshot == ended.snapshot), None
        )
        if index is None:
            return point
        updated = self._update(
            keys.point(point.id),
            f"record {ended.snapshot} of {point.id}",
            f"SET members[{index}].#state = :state, members[{index}].cause = :cause",
            {
                ":state": {"S": ended.state},
                ":cause": items.value(ended.cause),
                ":snapshot": {"S": ended.snapshot},
                ":pending": {"S": PointStatus.PENDING},
            },
            condition=f"#status = :pending AND members[{index}].#snapshot = :snapshot",
        )
        return items.from_item(Point, updated) if updated else self._known(point.id)

    # reading

    def point(self, point: str) -> Point | None:
        item = self._get(keys.point(point), f"read {point}")
        return items.from_item(Point, item) if item else None

    # holds

    def hold(self, point: str, hold: Hold) -> None:
        """See ``expire``: whoever of the two writes first wins."""
        updated = self._update(
            keys.point(point),
            f"hold {point}",
            "SET #hold = :hold",
            {
                ":hold": items.value(hold),
                ":expired": {"S": PointStatus.EXPIRED},
                ":deleted": {"S": PointStatus.DELETED},
            },
            condition="attribute_exists(pk) AND NOT #status IN (:expired, :deleted)",
        )
        if updated is None:
            raise Conflict(f"{point} is {self._known(point).status}: it cannot be held any more")

    def release_hold(self, point: str) -> None:
        self._update(keys.point(point), f"release {point}", "REMOVE #hold", {}, condition=ON_RECORD)

    def hold_source(self, source: str, hold: Hold) -> None:
        with translated("dynamodb", f"hold {source}"):
            self._client.put_item(
                TableName=self._table,
                Item=items.to_item({**keys.hold(source), **unstructure(hold)}),
            )

    def release_source(self, source: str) -> None:
        with translated("dynamodb", f"release {source}"):
            self._client.delete_item(TableName=self._table, Key=items.to_item(keys.hold(source)))

    def source_holds(self, sources: Iterable[str]) -> dict[str, Hold]:
        found = self._get_all([keys.hold(one) for one in set(sources)], "look for holds")
        return {
            item["pk"]["S"].removeprefix(keys.hold("")["pk"]): items.from_item(Hold, item)
            for item in found
        }

    # plans of what to prune

    def open_plan(self, plan: PrunePlan) -> PrunePlan:
        self._put_new(items.plan(plan), f"open {plan.id}")
        opened = self.plan(plan.id)
        if opened is None:
            raise Conflict(f"{plan.id} is gone")
        return opened

    def plan(self, plan: str) -> PrunePlan | None:
        item = self._get(keys.plan(plan), f"read {plan}")
        return items.from_item(PrunePlan, item) if item else None

    def advance_plan(self, before: PrunePlan, after: PrunePlan) -> None:
        """Two planners of one plan; the second stops where it meets the first::

            planner A                     item                          planner B
            reads: 3 parts                 3 parts, planning            reads: 3 parts
            4 parts, if 3  ------------->  4 parts, planning
                                                       <--------------- 4 parts, if 3: refused

        A person's approval is refused in the same way if somebody else approved meanwhile.
        """
        with translated("dynamodb", f"record {after.id}"):
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item=items.plan(after),
                    ConditionExpression="#status = :status AND parts = :parts",
                    ExpressionAttributeNames={"#status": "status"},
                    ExpressionAttributeValues={
                        ":status": {"S": before.status},
                        ":parts": {"N": str(before.parts)},
                    },
                )
            except self._client.exceptions.ConditionalCheckFailedException as error:
                # Ours may have been written, and its reply lost.
                if self.plan(after.id) != after:
                    raise Conflict(f"{after.id} was changed meanwhile") from error

    def note_applied(self, plan: str, slice_: int, applied: Applied, at: datetime) -> None:
        expiry = {"ttl": items.expires(at, PLAN_FOR)}
        item = items.to_item({**keys.slice_of(plan, slice_), **unstructure(applied), **expiry})
        with translated("dynamodb", f"record slice {slice_} of {plan}"):
            self._client.put_item(TableName=self._table, Item=item)

    def applied(self, plan: str) -> Iterator[Applied]:
        for item in self._query(
            f"read what became of {plan}",
            KeyConditionExpression="pk = :pk AND begins_with(sk, :slice)",
            ExpressionAttributeValues={
                ":pk": {"S": keys.plan(plan)["pk"]},
                ":slice": {"S": keys.SLICE},
            },
        ):
            yield items.from_item(Applied, item)

    # copies

    def open_copy(self, copy: PointCopy) -> bool:
        return self._put_new(items.copy(copy), f"queue {copy.id}")

    def copy(self, point: str, place: Place) -> PointCopy | None:
        item = self._get(keys.copy(point, place), f"read the copy of {point} in {place}")
        return items.from_item(PointCopy, item) if item else None

    def copies(self, point: str) -> list[PointCopy]:
        found = self._query(
            f"read the copies of {point}",
            KeyConditionExpression="pk = :pk AND begins_with(sk, :copy)",
            ExpressionAttributeValues={
                ":pk": {"S": keys.point(point)["pk"]},
                ":copy": {"S": keys.COPY},
            },
            ConsistentRead=True,
        )
        return [items.from_item(PointCopy, one) for one in found]

    def copies_of(self, source: str, place: Place) -> Iterator[PointCopy]:
        for item in self._listed(keys.copies_of(source, place)):
            yield items.from_item(PointCopy, item)

    def due(self, place: Place) -> Iterator[PointCopy]:
        due = self._flight(keys.copies_to(place), PaginationConfig={"PageSize": READ_AT_ONCE})
        for item in self._whole(due, f"read the copies to {place}"):
            copy = items.from_item(PointCopy, item)
            if copy.open:
                yield copy

    def change_copy(
        self,
        before: PointCopy,
        after: PointCopy,
        *,
        take: str | None = None,
        limit: int = 0,
        free: str | None = None,
    ) -> PointCopy | None:
        """Two functions fill the same place, and one slot is free::

            worker A                      copy         slots        worker B
            reads: version 3               3            19 of 20     reads: version 3
            if 3, and a slot: ---------->  4            20
                                                        <---------- if 3: refused, Conflict
                                           (of another copy)
                                                        <---------- if a slot: refused, None

        Whoever may make the call has written that it goes out, and holds the slot for it.
        """
        written = replace(after, version=before.version + 1)
        put = self._put(items.copy(written), "version = :version")
        put["Put"]["ExpressionAttributeValues"] = {":version": {"N": str(before.version)}}
        slots = keys.slots(before.place)
        writes = [put]
        if take:
            values = {":op": {"S": take}, ":ops": {"SS": [take]}, ":limit": {"N": str(limit)}}
            free_one = "size(taken) < :limit AND NOT contains(taken, :op)"
            condition = f"attribute_not_exists(taken) OR ({free_one})"
            writes.append(
                self._in_transaction(slots, "ADD taken :ops", values, condition=condition)
            )
        if free:
            writes.append(
                self._in_transaction(slots, "DELETE taken :ops", {":ops": {"SS": [free]}})
            )
        if after.status is CopyStatus.EXPIRED:
            writes += [
                self._no_hold(before.source.id),
                self._no_own_hold(before.point),
                self._no_restore(before.point),
            ]
        try:
            self._transact(f"record {before.id}", *writes)
        except _NotMet as refused:
            if refused.reasons[0] != NO_REASON:
                raise Conflict(f"{before.id} was changed meanwhile") from refused
            if after.status is CopyStatus.EXPIRED:
                if refused.reasons[-1] != NO_REASON:
                    raise self._restored_from(before.point) from refused
                raise Conflict(f"{before.id} is held with its point or source") from refused
            return None
        return written

    def slots(self, place: Place) -> Slots:
        item = self._get(keys.slots(place), f"read the slots of {place}")
        return items.from_item(Slots, item) if item else Slots()

    def note_quota(self, place: Place, quota: int | None, at: datetime) -> None:
        self._update(
            keys.slots(place),
            f"note how many slots {place} has",
            "SET quota = :quota, quota_at = :at",
            {":quota": items.value(quota), ":at": items.value(at)},
        )

    def shrink(self, place: Place, to: int, until: datetime) -> None:
        self._update(
            keys.slots(place),
            f"use fewer slots of {place}",
            "SET shrunk_to = :to, shrunk_until = :until",
            {":to": {"N": str(to)}, ":until": items.value(until)},
        )

    # restores

    def open_restore(self, restore: Restore) -> Restore:
        """Two people restore the same instance in place, one of them with a doubled request::

            A                             restore      lock         B
            put both, if not there ----->  rs-A         of rs-A
            the same again: refused; the
            one that is there is given
                                           (rs-B)       of rs-A      <--- put both: refused,
                                                                         Conflict: rs-A works at it

        The lock goes in the transaction that settles what holds it: see ``change_restore``.
        """
        writes = [self._put(items.restore(restore), "attribute_not_exists(pk)")]
        if restore.locks:
            lock = {**keys.restoring(restore.locks), "locked_by": restore.id}
            writes.append(self._put(items.to_item(lock), "attribute_not_exists(pk)"))
        try:
            self._transact(f"open {restore.id}", *writes)
        except _NotMet as refused:
            if known := self.restore(restore.id):
                return known
            raise self._locked(restore.locks or "") from refused
        return restore

    def _locked(self, instance: str) -> Exception:
        lock = self._get(keys.restoring(instance), f"look who restores {instance}")
        if lock is None:
            return Throttled(f"another restore worked at {instance} a moment ago", SOON)
        return Conflict(f"{lock['locked_by']['S']} works at {instance}")

    def restore(self, restore: str) -> Restore | None:
        item = self._get(keys.restore(restore), f"read {restore}")
        return items.from_item(Restore, item) if item else None

    def change_restore(self, before: Restore, after: Restore) -> Restore:
        """A person cancels a restore while a step of it writes what it made::

            step                          item                          person
            reads: version 3               3                            reads: version 3
            made i-1, if 3  ------------>  4
                                                       <--------------- cancelled, if 3: refused,
                                                                        Conflict: reads again

        One that is settled frees its instance in the same transaction, if the instance is its own
        still: once it is DONE, another may have it while this one ends.
        """
        written = replace(after, version=before.version + 1)
        put = self._put(items.restore(written), "version = :version")
        put["Put"]["ExpressionAttributeValues"] = {":version": {"N": str(before.version)}}
        writes = [put]
        if after.in_place and not after.locks:
            writes += self._unlock(after.id, after.in_place.instance)
        try:
            self._transact(f"record {before.id}", *writes)
        except _NotMet as refused:
            raise Conflict(f"{before.id} was changed meanwhile") from refused
        return written

    def _unlock(self, restore: str, instance: str) -> list[dict[str, Any]]:
        key = keys.restoring(instance)
        lock = self._get(key, f"look who restores {instance}")
        if lock is None or lock["locked_by"]["S"] != restore:
            return []
        # Nobody else removes it, so it is there.
        return [{"Delete": {"TableName": self._table, "Key": items.to_item(key)}}]

    def restores_of(self, source: str) -> Iterator[Restore]:
        what = f"read the restores of {source}"
        for item in self._whole(self._listed(keys.restores_of(source)), what):
            yield items.from_item(Restore, item)

    def open_restores(self) -> Iterator[Restore]:
        for item in self._whole(self._flight(keys.RESTORES), "read the restores that are open"):
            restore = items.from_item(Restore, item)
            if restore.open:
                yield restore

    def hold_for_restore(self, restore: Restore) -> None:
        """A worker is about to delete the point that a restore is to be made from::

            restore                       point        restores     worker
            reads: AVAILABLE               AVAILABLE                 reads: AVAILABLE
            hold, if AVAILABLE  -------->               rs-1
                                                        rs-1         <--- EXPIRED, if nobody holds:
                                                                         refused, Conflict
            free  ---------------------->  AVAILABLE    none
                                           EXPIRED                   <--- EXPIRED, if nobody holds
            hold, if AVAILABLE: refused, Conflict

        The holds are in an item of their own, so that the point is not written for a restore.
        """
        point, place = restore.point, restore.origin
        made_from = keys.copy(point, place) if restore.from_copy else keys.point(point)
        hold = self._in_transaction(
            keys.restores_from(restore.point),
            "ADD restores :restore SET #ttl = :ttl",
            {
                ":restore": {"SS": [restore.id]},
                ":ttl": {"N": str(items.expires(restore.asked_at, items.RESTORE_FOR))},
            },
        )
        there = {
            "TableName": self._table,
            "Key": items.to_item(made_from),
            "ConditionExpression": "#status = :available",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": {":available": {"S": PointStatus.AVAILABLE}},
        }
        try:
            self._transact(f"hold {restore.point}", hold, {"ConditionCheck": there})
        except _NotMet as refused:
            raise Conflict(items.not_available(restore)) from refused

    def free_from_restore(self, restore: Restore) -> None:
        self._update(
            keys.restores_from(restore.point),
            f"free {restore.point} from {restore.id}",
            "DELETE restores :restore",
            {":restore": {"SS": [restore.id]}},
            condition=ON_RECORD,
        )

    def prove(self, point: str, proof: Proof) -> None:
        """Two drills of a point end at once; the later word stays, whoever writes first::

        drill A                       item                          drill B
        A at 02:10, if later  ------>  A at 02:10
                                       B at 02:20  <--------------- B at 02:20, if later
        A again: refused
        """
        proof = items.proof(proof)
        self._update(
            keys.point(point),
            f"note that {point} is proved",
            "SET proof = :proof",
            {":proof": items.value(proof), ":at": {"S": instant(proof.at)}},
            condition="attribute_exists(pk) AND (attribute_not_exists(proof) OR proof.#at < :at)",
        )

    def note_name(self, name: str, source: Source, at: datetime) -> None:
        if self._get(keys.name(name, source.id), f"look for the name of {source.id}") is None:
            self._put_new(items.name(name, source, at), f"note the name of {source.id}")

    def named(self, name: str) -> tuple[Source, ...]:
        start = keys.name(name)
        found = self._query(
            f"look who has the name {name}",
            KeyConditionExpression="pk = :pk AND begins_with(sk, :source)",
            ExpressionAttributeValues={":pk": {"S": start["pk"]}, ":source": {"S": start["sk"]}},
        )
        return tuple(items.read_name(item) for item in found)

    # policies

    def note_policies(self, policies: Iterable[str]) -> None:
        for policy in policies:
            self._put_new(items.to_item({**keys.policy(policy), "name": policy}), f"note {policy}")

    def noted_policies(self) -> set[str]:
        found = self._query(
            "list the policies that were deployed",
            KeyConditionExpression="pk = :pk AND begins_with(sk, :policy)",
            ExpressionAttributeValues={
                ":pk": {"S": keys.POLICIES},
                ":policy": {"S": keys.POLICY},
            },
        )
        return {item["name"]["S"] for item in found}

    def copying_since(
        self, policy: str, places: Iterable[Place], at: datetime
    ) -> dict[Place, datetime]:
        known = self._copied(policy)
        since = {place: known.get(place) or at for place in places}
        # Written over, not removed: where copies were is remembered.
        for place in since.keys() | known.keys():
            if known.get(place) != since.get(place) or place not in known:
                item = {**keys.copied(policy, place), "place": unstructure(place)}
                item["since"] = unstructure(since.get(place))
                with translated("dynamodb", f"note where {policy} has copies"):
                    self._client.put_item(TableName=self._table, Item=items.to_item(item))
        return since

    def copied_places(self, policy: str) -> set[Place]:
        return set(self._copied(policy))

    def _copied(self, policy: str) -> dict[Place, datetime | None]:
        """Since when, by place; None: not any more."""
        start = keys.copied(policy)
        found = self._query(
            f"read where {policy} has copies",
            KeyConditionExpression="pk = :pk AND begins_with(sk, :policy)",
            ExpressionAttributeValues={":pk": {"S": start["pk"]}, ":policy": {"S": start["sk"]}},
            ConsistentRead=True,
        )
        return {
            one.place: one.since for one in (items.from_item(items.Copied, item) for item in found)
        }

    def point_of(self, snapshot: str) -> Point | None:
        for item in self._query(
            f"look up {snapshot}",
            IndexName=keys.BY_SNAPSHOT,
            KeyConditionExpression="anchor = :snapshot",
            ExpressionAttributeValues={":snapshot": {"S": snapshot}},
        ):
            return self.point(item["pk"]["S"].removeprefix("POINT#"))
        return None

    def points(self, source: str) -> Iterator[Point]:
        for item in self._listed(keys.points_of(source)):
            yield items.from_item(Point, item)

    def sources(self, policy: str, after: str | None = None) -> Iterator[SourceRecord]:
        first = shard(after, keys.SHARDS) if after else 0
        for number in range(first, keys.SHARDS):
            condition, values = "pk = :pk", {":pk": {"S": keys.sources_of(policy, number)}}
            if after and number == first:
                condition += " AND sk > :after"
                values[":after"] = {"S": keys.source(policy, after)["sk"]}
            for item in self._query(
                f"read the sources of {policy}",
                KeyConditionExpression=condition,
                ExpressionAttributeValues=values,
            ):
                yield items.from_item(SourceRecord, item)

    def launch(self, policy: str, source: Source) -> LaunchAttributes | None:
        item = self._get(keys.launch(policy, source.id), f"read source {source.id}")
        return items.from_item(LaunchAttributes, item) if item else None

    def remember_launch(self, policy: str, source: Source, launch: LaunchAttributes) -> None:
        item = items.to_item({**keys.launch(policy, source.id), **unstructure(launch)})
        with translated("dynamodb", f"record launch attributes of {source.id}"):
            self._client.put_item(TableName=self._table, Item=item)

    def in_flight(self) -> Iterator[Point]:
        for number in range(keys.SHARDS):
            for item in self._flight(keys.flight(number)):
                yield items.from_item(Point, item)

    def known(self, points: Iterable[str]) -> set[str]:
        wanted = [keys.point(one) for one in sorted(set(points))]
        found = self._get_all(wanted, "look for points", ProjectionExpression="id")
        return {item["id"]["S"] for item in found}

    def note_source(self, policy: str, source: Source, at: datetime) -> None:
        self._update(
            keys.source(policy, source.id),
            f"record source {source.id}",
            "SET first_seen = if_not_exists(first_seen, :at), policy = :policy, "
            "last_asked = if_not_exists(last_asked, :at), #source = :source",
            {":at": items.value(at), ":policy": {"S": policy}, ":source": items.value(source)},
        )

    def known_copies(self, points: Iterable[str], place: Place) -> set[str]:
        wanted = [keys.copy(one, place) for one in sorted(set(points))]
        found = self._get_all(wanted, "look for copies", ProjectionExpression="id")
        return {item["id"]["S"] for item in found}

    def rebuild(self, point: Point) -> bool:
        """A worker claims what a sweep rebuilds; whoever comes first has it::

            sweep                         item                          worker
            (found snapshots by tag)       CREATING, owner B <--------- claim
            put if not there: refused

        The point itself is written last: a sweep that was killed before begins anew.
        """
        at = point.settled_at or point.claimed_at
        if point.method is Method.ONE_BY_ONE:
            for snapshot in point.snapshots:
                self._put_lead(point.id, snapshot, at)
        self.note_source(point.policy, point.source, point.claimed_at)
        if point.status is PointStatus.AVAILABLE:
            self._update(**self._newest(point), what=f"note {point.id} as newest")
        item = items.point(point) | items.to_item({"anchor": anchor(point.snapshots)})
        if point.status is PointStatus.FAILED:
            item["ttl"] = {"N": str(items.expires(at, items.FAILED_FOR))}
        return self._put_new(item, f"rebuild {point.id}")

    # what people were told

    def told(self, key: str) -> bool:
        return self._get(keys.notice(key), f"read notice {key}") is not None

    def note_told(self, key: str, at: datetime) -> None:
        expiry = {"ttl": items.expires(at, items.NOTICE_FOR)}
        self._put_new(items.to_item({**keys.notice(key), **expiry}), f"record notice {key}")

    # chat

    def note_request(self, key: str, until: datetime) -> bool:
        """A request is sent again by who has seen it once::

            Slack's request               item                          the same, again
            put if not there  ---------->  seen
                                                       <--------------- put if not there: refused

        The item outlives the time in which the signature is accepted.
        """
        expiry = {"ttl": items.expires(until, timedelta(0))}
        item = items.to_item({**keys.chat_request(key), **expiry})
        return self._put_new(item, "note a request of chat")

    def note_refusal(self, refusal: ChatRefusal) -> None:
        expiry = {"ttl": items.expires(refusal.at, items.CHAT_REFUSED_FOR)}
        key = keys.chat_refusal(refusal.at, refusal.key)
        self._put_new(
            items.to_item({**key, **unstructure(refusal), **expiry}), "note a refusal in chat"
        )

    def converse(self, conversation: Conversation) -> None:
        expiry = {"ttl": items.expires(conversation.since, KEPT_FOR)}
        key = keys.conversation(conversation.restore)
        with translated("dynamodb", f"note where to tell of {conversation.restore}"):
            self._client.put_item(
                TableName=self._table,
                Item=items.to_item({**key, **unstructure(conversation), **expiry}),
            )

    def conversation(self, restore: str) -> Conversation | None:
        item = self._get(keys.conversation(restore), f"read where to tell of {restore}")
        return items.from_item(Conversation, item) if item else None

    def answered(self, restore: str) -> None:
        self._update(
            keys.conversation(restore),
            f"note the answer about {restore}",
            "SET answered = :true",
            {":true": {"BOOL": True}},
            condition=ON_RECORD,
        )

    def note_said(self, restore: str, announcement: str, at: datetime) -> None:
        """A message is delivered twice; it is counted once::

        delivery A                    item                          delivery B
        if not in it ---------------->  said: e1
                                                   <--------------- if not in it: refused
        """
        self._update(
            keys.conversation(restore),
            f"note what was told of {restore}",
            "SET said = list_append(said, :more), said_at = :at",
            {
                ":more": items.value([announcement]),
                ":one": {"S": announcement},
                ":at": items.value(at),
            },
            condition=f"{ON_RECORD} AND NOT contains(said, :one)",
        )

    def _flight(self, flight: str, **request: Any) -> Iterator[Item]:
        return self._query(
            "read what is in flight",
            **request,
            IndexName=keys.IN_FLIGHT,
            KeyConditionExpression="flight = :flight",
            ExpressionAttributeValues={":flight": {"S": flight}},
        )

    def _known(self, point: str) -> Point:
        known = self.point(point)
        if known is None:
            raise Conflict(f"there is no point {point}")
        return known

    # writes

    def _seen(self, point: Point | Claim, at: datetime) -> dict[str, Any]:
        return self._in_transaction(
            keys.source(point.policy, point.source.id),
            "SET first_seen = if_not_exists(first_seen, :now), last_asked = :now, "
            "policy = :policy, #source = :source",
            {
                ":now": items.value(at),
                ":policy": {"S": point.policy},
                ":source": items.value(point.source),
            },
        )

    def _newest(self, point: Point) -> dict[str, Any]:
        """Of an update: the source's newest available point, which never goes back."""
        return {
            "key": keys.source(point.policy, point.source.id),
            "update": "SET last_available = :taken, last_point = :point",
            "values": {
                ":taken": {"S": instant(point.taken_at or point.slot)},
                ":point": {"S": point.id},
            },
            "condition": "attribute_not_exists(last_available) OR last_available < :taken",
        }

    def _counted(self, run: str, point: Point | Claim, outcome: Outcome) -> list[dict[str, Any]]:
        """One more in a counter of the run; a failure is named in it as well."""
        ttl = items.expires(outcome.at, items.RUN_FOR)
        counted = self._in_transaction(
            keys.run_count(run, point.source.id),
            f"ADD {outcome.status.value} :one SET #ttl = :ttl",
            {":one": {"N": "1"}, ":ttl": {"N": str(ttl)}},
        )
        if outcome.status is not PointStatus.FAILED:
            return [counted]
        failure = Failure(point=point.id, source=point.source, cause=outcome.cause or "")
        item = {**keys.run_failure(run, point.id), **unstructure(failure), "ttl": ttl}
        return [counted, self._put(items.to_item(item))]

    def _end(
        self,
        point: str,
        outcome: Outcome,
        condition: str,
        values: dict[str, Any],
        members: tuple[Member, ...] | None = None,
    ) -> dict[str, Any]:
        update = (
            "SET #status = :ended, settled_at = :at, cause = :cause, "
            "history = list_append(history, :change)"
        )
        values = {
            **values,
            ":ended": {"S": outcome.status},
            ":at": items.value(outcome.at),
            ":cause": items.value(outcome.cause),
            ":change": items.value([items.settled(outcome)]),
        }
        if members is not None:
            update += ", members = :members"
            values[":members"] = items.value(members)
        if outcome.status is PointStatus.FAILED:
            update += ", #ttl = :ttl"
            values[":ttl"] = {"N": str(items.expires(outcome.at, items.FAILED_FOR))}
        return self._in_transaction(
            keys.point(point),
            f"{update} REMOVE flight, #owner, lease_until, attempted_at",
            values,
            condition=condition,
        )

    def _put_lead(self, point: str, snapshot: str, at: datetime) -> None:
        expiry = {"ttl": items.expires(at, items.LEAD_FOR)}
        self._put_new(
            items.to_item({**keys.member(point, snapshot), "anchor": snapshot, **expiry}),
            f"record {snapshot} of {point}",
        )

    def _held(self, point: str, owner: str, update: str, values: dict[str, Any]) -> Item:
        updated = self._update(
            keys.point(point),
            f"write {point}",
            update,
            {**values, ":me": {"S": owner}, ":creating": {"S": PointStatus.CREATING}},
            condition="#status = :creating AND #owner = :me",
        )
        if updated is None:
            raise Conflict(f"{point} is not held by {owner} any more")
        return updated

    # requests

    def _get(self, key: keys.Key, what: str) -> Item | None:
        with translated("dynamodb", what):
            reply = self._client.get_item(
                TableName=self._table, Key=items.to_item(key), ConsistentRead=True
            )
        item: Item | None = reply.get("Item")
        return item

    def _get_all(self, every: Sequence[keys.Key], what: str, **request: Any) -> Iterator[Item]:
        """Those that are there, in no order."""
        for start in range(0, len(every), MOST_KEYS):
            wanted = [items.to_item(one) for one in every[start : start + MOST_KEYS]]
            while wanted:
                asked = {"Keys": wanted, "ConsistentRead": True, **request}
                with translated("dynamodb", what):
                    reply = self._client.batch_get_item(RequestItems={self._table: asked})
                yield from reply["Responses"].get(self._table, [])
                wanted = reply["UnprocessedKeys"].get(self._table, {}).get("Keys", [])

    def _whole(self, found: Iterator[Item], what: str) -> Iterator[Item]:
        """What an index leads to, in its order, as it is now; without what is gone."""
        while page := list(islice(found, READ_AT_ONCE)):
            wanted = [{name: item[name]["S"] for name in ("pk", "sk")} for item in page]
            known = {one["pk"]["S"]: one for one in self._get_all(wanted, what)}
            yield from (known[pk] for item in page if (pk := item["pk"]["S"]) in known)

    def _query(self, what: str, **request: Any) -> Iterator[Item]:
        pages = self._client.get_paginator("query").paginate(TableName=self._table, **request)
        with translated("dynamodb", what):
            for page in pages:
                yield from page["Items"]

    def _listed(self, listed: str) -> Iterator[Item]:
        return self._query(
            f"list {listed}",
            IndexName=keys.LISTING,
            KeyConditionExpression="listed = :listed",
            ExpressionAttributeValues={":listed": {"S": listed}},
            ScanIndexForward=False,
        )

    def _put_new(self, item: Item, what: str) -> bool:
        """False if it was there before."""
        with translated("dynamodb", what):
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item=item,
                    ConditionExpression="attribute_not_exists(pk)",
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                return False
        return True

    def _update(
        self,
        key: keys.Key,
        what: str,
        update: str,
        values: dict[str, Any],
        *,
        condition: str | None = None,
        old: bool = False,
    ) -> Item | None:
        """The item after (``old``: before) the update; None if the condition does not hold."""
        request = self._request(key, update, values, condition)
        with translated("dynamodb", what):
            try:
                reply = self._client.update_item(
                    **request, ReturnValues="ALL_OLD" if old else "ALL_NEW"
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                return None
        item: Item = reply["Attributes"]
        return item

    def _no_hold(self, source: str) -> dict[str, Any]:
        return {
            "ConditionCheck": {
                "TableName": self._table,
                "Key": items.to_item(keys.hold(source)),
                "ConditionExpression": "attribute_not_exists(pk)",
            }
        }

    def _no_own_hold(self, point: str) -> dict[str, Any]:
        """Also if there is no such point any more."""
        return {
            "ConditionCheck": {
                "TableName": self._table,
                "Key": items.to_item(keys.point(point)),
                "ConditionExpression": "attribute_not_exists(#hold)",
                "ExpressionAttributeNames": {"#hold": "hold"},
            }
        }

    def _no_restore(self, point: str) -> dict[str, Any]:
        return {
            "ConditionCheck": {
                "TableName": self._table,
                "Key": items.to_item(keys.restores_from(point)),
                "ConditionExpression": "attribute_not_exists(restores)",
            }
        }

    def _restored_from(self, point: str) -> Conflict:
        item = self._get(keys.restores_from(point), f"look who restores from {point}") or {}
        by = item["restores"]["SS"] if "restores" in item else ["one that has just let it go"]
        return Conflict(items.restored_from(point, by))

    def _put(self, item: Item, condition: str | None = None) -> dict[str, Any]:
        request: dict[str, Any] = {"TableName": self._table, "Item": item}
        if condition:
            request["ConditionExpression"] = condition
        return {"Put": request}

    def _in_transaction(
        self,
        key: keys.Key,
        update: str,
        values: dict[str, Any],
        *,
        condition: str | None = None,
    ) -> dict[str, Any]:
        return {"Update": self._request(key, update, values, condition)}

    def _request(
        self,
        key: keys.Key,
        update: str,
        values: dict[str, Any],
        condition: str | None,
    ) -> dict[str, Any]:
        """``#name`` in an expression stands for ``name``, where that is a word of DynamoDB's."""
        names = {f"#{name}": name for name in re.findall(r"#(\w+)", f"{update} {condition or ''}")}
        request: dict[str, Any] = {
            "TableName": self._table,
            "Key": items.to_item(key),
            "UpdateExpression": update,
        }
        if values:
            request["ExpressionAttributeValues"] = values
        if names:
            request["ExpressionAttributeNames"] = names
        if condition:
            request["ConditionExpression"] = condition
        return request

    def _transact(self, what: str, *writes: dict[str, Any]) -> None:
        """All or nothing.

        Raises:
            _NotMet: a condition did not hold.
            Throttled: another transaction was at one of the items.
        """
        with translated("dynamodb", what):
            try:
                self._client.transact_write_items(TransactItems=list(writes))
            except self._client.exceptions.TransactionCanceledException as error:
                raise _cancelled(error, what) from error


BUSY = ("TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded")


def _cancelled(error: ClientError, what: str) -> Exception:
    """By the reasons that DynamoDB gives (API Reference, TransactWriteItems)."""
    reasons = [one["Code"] for one in error.response.get("CancellationReasons", [])]
    if any(reason in BUSY for reason in reasons):
        # Before the conditions: who else writes may be about to change what they say.
        return Throttled(f"{what}: {', '.join(reasons)}", SOON)
    if CONDITION in reasons:
        return _NotMet(reasons)
    return CallRefused(f"{what}: {error}")
