"""Attempts to inject through every field of a registry that holds text: what is written is text, and comes back as it.

Conditions of queries are tried in test_registry_contract.py; what is asked over HTTP in tests/daemon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any

import pytest

from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from reconciler.model.query import Order, Query, QueryError
from reconciler.model.transfer import Kept
from reconciler.query import tokens
from reconciler.query.paths import joined
from reconciler.query.tokens import Place
from tests.contracts.conftest import REGISTRIES
from tests.contracts.test_health_history_contract import change
from tests.contracts.values import MINER, ODD, fact, fleet, health, intent, record, revision, write

BACK_ENDS = REGISTRIES
TEXTS = [text[:500] for text in ODD]
AGENTS = [AgentName(namespace="odd", name=f"n{number}") for number in range(len(TEXTS))]


def filled(value: Any, text: str, **kept: Any) -> Any:
    """A value with `text` in the place of every text in it, keys too; names and enumerations stay what they are."""
    if isinstance(value, Enum | AgentName) or not (
        is_dataclass(value) or isinstance(value, str | Mapping | tuple | list)
    ):
        return value
    if isinstance(value, str):
        return text
    if isinstance(value, Mapping):
        return {text if isinstance(key, str) else key: filled(one, text) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(filled(one, text) for one in value)
    assert not isinstance(value, type)
    made = {each.name: filled(getattr(value, each.name), text) for each in fields(value) if each.name not in kept}
    return replace(value, **made, **kept)


async def test_text_in_any_field_is_kept_as_it_is_and_is_nothing_else(registry, open_registry) -> None:
    """Labels, annotations, actors, reasons, commits, messages, names of clusters, ids, holders: whatever there is."""
    await registry.commit(write(record(MINER), audit=(fact("create", MINER),)))
    records = [filled(record(name), text, id=f"{text}{name.name}") for name, text in zip(AGENTS, TEXTS, strict=True)]
    annotated = [replace(one, document={**one.document, "annotations": {one.message: one.message}}) for one in records]
    facts = [filled(fact(agent=name), text) for name, text in zip(AGENTS, TEXTS, strict=True)]
    fleets = [filled(fleet(number), text) for number, text in enumerate(TEXTS, 1)]
    clusters = [filled(health(), text) for text in TEXTS]
    intents = [filled(intent("j", agent=name), text) for name, text in zip(AGENTS, TEXTS, strict=True)]
    revisions = [filled(revision(1, name), text) for name, text in zip(AGENTS, TEXTS, strict=True)]
    changes = [filled(change(name), text) for name, text in zip(AGENTS, TEXTS, strict=True)]
    for number, text in enumerate(TEXTS):
        one = write(
            annotated[number], op_id=text, audit=(facts[number],), fleet=fleets[number], clusters=(clusters[number],),
            journal=(intents[number],), revisions=(revisions[number],),
        )  # fmt: skip
        seq = await registry.commit(one)
        assert await registry.commit(one) == seq, "it is known by its id"
        lease = await registry.acquire(text, holder=text, ttl_ms=10, now_ms=1)
        await registry.release(lease)
    await registry.record_health(changes, (), op_id=TEXTS[0])
    again = await open_registry()
    snapshot = (await again.snapshot()).value
    assert list(snapshot.records.values()) == [*sorted(annotated, key=_name), record(MINER)]
    assert (snapshot.fleet, snapshot.clusters) == (fleets[-1], {one.cluster: one for one in clusters})
    assert list(await again.open_journal()) == intents
    assert [await again.revisions(name) for name in AGENTS] == [(one,) for one in revisions]
    assert [entry.fact async for entry in again.audit(since=1)] == facts
    for name, one in zip(AGENTS, facts, strict=True):
        assert [entry.fact async for entry in again.audit(name=name)] == [one]
    assert sorted(lease.name for lease in await again.leases("")) == sorted(TEXTS)
    assert sorted(await again.health_changes(None, since_ms=0), key=_agent) == sorted(changes, key=_agent)
    assert (await again.verify_audit()).sound
    assert await again.integrity() == ()
    assert await again.get(MINER) == Found(record(MINER))


def _name(one: Any) -> tuple[str, str]:
    return one.name.namespace, one.name.name


def _agent(one: Any) -> tuple[str, str]:
    return one.agent.namespace, one.agent.name


async def whole(registry) -> list[Kept]:
    return [item async for item in registry.export()]


async def test_names_of_any_kind_are_only_looked_for(registry) -> None:
    await registry.commit(write(record(MINER), revisions=(revision(1, MINER),), audit=(fact("create", MINER),)))
    before = await whole(registry)
    for text in TEXTS:
        for name in (AgentName(namespace=text, name="miner"), AgentName(namespace="research", name=text)):
            assert not isinstance(await registry.get(name), Found)
            assert await registry.revisions(name) == ()
            assert await registry.health_changes(name, since_ms=0) == ()
            assert [entry async for entry in registry.audit(name=name)] == []
        assert await registry.leases(text) == ()
    assert await whole(registry) == before


async def test_orders_and_groups_of_any_kind_are_only_paths(registry) -> None:
    await registry.commit(write(record(), record(MINER)))
    before = await whole(registry)
    for text in TEXTS:
        for path in (f"labels.{joined((text,))}", f"spec.config.{joined((text,))}"):
            query = Query(order=(Order(path, descending=True),))
            page = await registry.find(query, limit=1)
            assert [one.name for one in page.records] == [MINER], "nothing stands there: by name"
            assert (await registry.find(query, limit=5, after=page.next)).records == (record(),)
            assert [(group.value, group.count) for group in await registry.count(Query(), by=path)] == [(None, 2)]
            statement = (await registry.explain(query, limit=5)).statement
            assert len(text) < 3 or text not in statement
    assert await whole(registry) == before


async def test_a_token_of_any_making_is_a_place_or_none(registry) -> None:
    """Tokens are not signed: whoever makes one of his own asks for a page that he may have anyway."""
    await registry.commit(write(record(), record(MINER)))
    before = await whole(registry)
    query = Query(order=(Order("message"),))
    names = ["research/miner", "support/triage"]
    for text in TEXTS:
        for keys in ((text,), (None,), (1e300,), (True,)):
            page = await registry.find(query, limit=5, after=tokens.written(Place(keys, text, text), query))
            assert [str(one.name) for one in page.records] in ([], names, names[1:])
        with pytest.raises(QueryError, match="none of this query"):
            await registry.find(query, limit=5, after=text)
        foreign = tokens.written(Place((text, text), text, text), query)
        with pytest.raises(QueryError, match="none of this query"):
            await registry.find(query, limit=5, after=foreign)
    assert await whole(registry) == before


async def test_an_agent_of_an_odd_name_is_kept_under_it_or_refused(registry) -> None:
    """Names are checked where they are read; one that gets here in spite of that does no harm."""
    await registry.commit(write(record(MINER)))
    for number, text in enumerate(TEXTS):
        name = AgentName(namespace=text, name=text)
        try:
            await registry.commit(write(replace(record(name), id=f"odd-{number}")))
        except RegistryError:
            continue
        assert await registry.get(name) == Found(replace(record(name), id=f"odd-{number}"))
    assert await registry.get(MINER) == Found(record(MINER))
    assert await registry.integrity() == ()
