"""What policies give Lastgood to do in each account: where its sources are, and copies of them."""

from collections.abc import Iterable
from dataclasses import replace

from infra import grants
from infra.catalog import Row
from infra.grants import Places
from lastgood.domain.names import role_abroad
from lastgood.domain.place import Place
from lastgood.domain.policy import Policy, TagMatch, copy_places, encrypting_places, source_places


def others(policies: Iterable[Policy], home: Place) -> tuple[Place, ...]:
    """The places in other accounts than ``home``, in order."""
    every = list(policies)
    places = {*source_places(every, home), *copy_places(every, home)}
    return tuple(sorted(one for one in places if one.account != home.account))


def with_duties(
    places: Places, policies: Iterable[Policy], home: Place, *, only_here: bool = False
) -> Places:
    """What there is to do in the account of ``places``, or only in its Region."""
    every = list(policies)

    def here(one: Place) -> bool:
        return one.account == places.account and (not only_here or one.region == places.region)

    copied, foreign, shared, vaults = set(), set(), set(), set()
    for source, to in (way for policy in every for way in policy.ways(home)):
        if here(to) and source.account == to.account:
            copied.add(source.region)
        elif here(to):
            foreign.add(source)
        elif here(source) and source.account != to.account:
            shared.add(source.region)
            vaults.add(to.account)
    encrypting = {one.region for one in encrypting_places(every, home) if here(one)}
    destinations = {one.region for one in copy_places(every, home) if here(one)}
    return replace(
        places,
        regions=tuple(one.region for one in source_places(every, home) if here(one)),
        destinations=tuple(sorted(destinations | encrypting)),
        copied=tuple(sorted(copied | encrypting)),
        encrypting=tuple(sorted(encrypting)),
        foreign=tuple(sorted(foreign)),
        shared=tuple(sorted(shared)),
        vaults=tuple(sorted(vaults)),
        selected=_selected(one for one in every if any(map(here, one.select.places(home)))),
    )


def _selected(policies: Iterable[Policy]) -> tuple[TagMatch, ...]:
    """By which tags these select. Policies that name one key, the same, and other values are made
    one, since a role's policy has little room."""
    single: dict[str, list[str]] = {}
    several: list[TagMatch] = []
    for tags in (policy.select.tags for policy in policies):
        if len(tags) == 1:
            ((key, values),) = tags.items()
            single.setdefault(key, []).extend(values)
        elif tags not in several:
            several.append(tags)
    return (*({key: tuple(dict.fromkeys(values))} for key, values in single.items()), *several)


def roles_of(row: Row, policies: Iterable[Policy], home: Place, partition: str) -> tuple[str, ...]:
    """The ARNs of a function's roles in other accounts."""
    every = list(policies)
    return tuple(
        f"arn:{partition}:iam::{one.account}:role/{role_abroad(row.physical_name, one.region)}"
        for one in others(every, home)
        if grants_abroad(row, there(one, every, home, partition))
    )


def there(place: Place, policies: Iterable[Policy], home: Place, partition: str) -> Places:
    """Another account, in one Region."""
    base = Places(partition=partition, account=place.account, region=place.region)
    return with_duties(base, policies, home, only_here=True)


def grants_abroad(row: Row, places: Places) -> tuple[grants.Grant, ...]:
    """None if the function has nothing to do there."""
    return grants.abroad(row.grants, places) if row.works_abroad else ()
