"""The double against what a real ArangoDB 3.12.10 answered: every exchange that concerns us, done again."""

import json
import re
from collections import Counter
from urllib.parse import urlsplit

import pytest

from tests.doubles.arango import recorded
from tests.doubles.arango.double import arango_double

if not recorded.FILE.exists():
    pytest.skip(
        f"THE DOUBLE IS NOT HELD TO A REAL SERVER: {recorded.FILE} with the recorded exchanges is missing",
        allow_module_level=True,
    )

ITEMS = recorded.load()
EXCHANGES, OTHERS = recorded.exchanges(ITEMS)

# Exchanges that do not agree, and why that is left so.
KNOWN = {
    "RestExplainOptimizerRules_single": "which rules ran and which attributes are projected is the real optimizer's",
    "RestExplainOptions_single": "rules of the optimizer cannot be chosen: 501",
    "RestExplainWarning_single": "what is constant is computed when a query runs, not when it is explained",
    "RestVersionDetails_single": "how the real server was built is not ours to say",
}


def unlike(exchange: recorded.Exchange) -> list[str]:
    """In what the double answers an exchange otherwise than the real server did."""
    with arango_double() as double:
        url = urlsplit(double.url)
        player = recorded.Player(url.hostname or "", url.port or 0)
        recorded.prepare(player, exchange)
        answers = player.play(exchange)
    kept = recorded.KEPT.get(exchange.name, range(len(answers)))
    pairs = zip(exchange.responses, (answers[place] for place in kept), strict=True)
    return [line for wanted, got in pairs for line in recorded.differences(wanted, got)]


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda one: one.name)
def test_an_exchange_is_answered_as_the_real_server_did(exchange):
    found = unlike(exchange)
    if exchange.name in KNOWN:
        assert found, f"{exchange.name} agrees now: take it out of KNOWN"
    else:
        assert not found, "\n".join(found)


def test_nearly_all_that_concerns_us_agrees(capsys):
    total, known = len(EXCHANGES), [one for one in EXCHANGES if one.name in KNOWN]
    with capsys.disabled():
        print(f"\n{total - len(known)} of {total} recorded exchanges agree in status, headers and body")  # noqa: T201
        for one in known:
            print(f"  not {one.name}: {KNOWN[one.name]}")  # noqa: T201
        print(f"{len(OTHERS)} concern nothing that we use:")  # noqa: T201
        for reason, count in Counter(OTHERS.values()).most_common():
            print(f"  {count} {reason}")  # noqa: T201
    assert (total - len(known)) / total >= 0.95
    assert set(KNOWN) <= {one.name for one in EXCHANGES}


# Queries whose result does not agree, and why that is left so.
UNORDERED = {
    "aqlArrayUnionDistinct_1_single": "UNION_DISTINCT gives its members in no order",
    "aqlUuid_single": "a UUID is never the same",
}


def test_queries_that_are_spoken_give_what_the_real_server_gave(capsys):
    agree, differ, unspoken = [], {}, []
    with arango_double() as double:
        url = urlsplit(double.url)
        player = recorded.Player(url.hostname or "", url.port or 0)
        for query in recorded.queries(ITEMS):
            request = recorded.Request("POST", "/_api/cursor", {}, json.dumps({"query": query.text}).encode())
            answer = player.send(request)
            if answer.status == 501:
                unspoken.append(query.name)
            elif answer.status == 201 and answer.body["result"] == query.result:
                agree.append(query.name)
            elif query.name not in UNORDERED:
                differ[query.name] = answer.body
    with capsys.disabled():
        print(f"\n{len(agree)} recorded queries agree; {len(unspoken)} need functions that we do not use")  # noqa: T201
    assert not differ
    assert len(agree) > 120


def test_every_endpoint_that_is_spoken_of_is_in_the_record():
    paths = {re.sub(r"^/_db/[^/]+", "", one.target).split("?")[0] for each in EXCHANGES for one in each.requests}
    spoken = {path.split("/")[2] for path in paths}
    assert spoken >= {"version", "database", "collection", "index", "document", "import", "cursor", "explain", "query"}
    assert spoken >= {"transaction", "user"}
