"""Recorded exchanges of a real server, and how they are done again: which concern us, what has to be there first, and
what may differ (ids, revisions, times). The record stands beside the repository and is read from there.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

FILE = Path(__file__).parents[3].parent / "shared" / "arangodb" / "recorded-3.12.10.json"

# What we use: the endpoints whose recorded exchanges have to agree.
ENDPOINTS = re.compile(
    r"/_api/(version|engine|database|collection|key-generators|index|document|import|cursor|explain|query|transaction|user)"
    r"(/.*)?"
)
# Exchanges of those endpoints that are about something else, and about what.
OUTSIDE = {
    r"_cluster$": "a cluster with shards",
    r"^job_": "requests that run in the background (x-arango-async)",
    r"^RestCollectionGetCollection(Checksum|Figures)": "sums and sizes of how collections are stored",
    r"^RestIndexCreate(Geo|NewFulltext|NewMdi)": "kinds of indexes that we do not make",
    r"^RestTransaction(Abort(Internal)?|NonExisting)_": "transactions in JavaScript",
    r"^RestQueryRules": "the list of the optimizer's rules",
}


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Exchange:
    """One item of the record: requests, and the responses that were kept, in order."""

    name: str
    requests: tuple[Request, ...]
    responses: tuple[Response, ...]


def load() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def exchanges(items: list[dict[str, Any]]) -> tuple[list[Exchange], dict[str, str]]:
    """Those that concern us, and of the others the reason why not, by name."""
    ours, others = [], {}
    for item in items:
        if item["kind"] != "http":
            continue
        name, requests = item["name"], _requests(item["input"])
        reason = next((why for pattern, why in OUTSIDE.items() if re.search(pattern, name)), None)
        if not all(ENDPOINTS.fullmatch(_path(one.target)) for one in requests):
            reason = reason or "endpoints that we do not use"
        if reason is not None:
            others[name] = reason
        else:
            ours.append(Exchange(name, requests, _responses(item["output"])))
    return ours, others


@dataclass(frozen=True, slots=True)
class Query:
    """A query of the record that needs nothing but itself, and its result."""

    name: str
    text: str
    result: Any


def queries(items: list[dict[str, Any]]) -> list[Query]:
    """All of them. Backslashes stand twice in the record."""
    found = []
    for item in items:
        head = item["source"].split("---")[1]
        plain = item["kind"] == "aql" and "bindVars" not in head and "dataset" not in head
        if plain and re.match(r"\s*(RETURN|FOR|LET)\b", item["input"]):
            found.append(Query(item["name"], item["input"].replace("\\\\", "\\"), json.loads(item["output"])))
    return found


def _path(target: str) -> str:
    return re.sub(r"^/_db/[^/]+", "", target.partition("?")[0])


def _requests(text: str) -> tuple[Request, ...]:
    made = []
    for part in re.split(r"^(?=curl )", text, flags=re.MULTILINE):
        if not part.strip():
            continue
        line, _, rest = part.partition("\n")
        method = re.search(r"-X (\w+)", line)
        head = re.search(r"(--head|-I)\s", line)
        headers = dict(one.split(": ", 1) for one in re.findall(r"--header '([^']*)'", line))
        url = urlsplit(re.findall(r"'(http[^']*)'", line)[0])
        target = url.path + (f"?{url.query}" if url.query else "")
        body = rest.partition("\nEOF")[0] if "<<'EOF'" in line else ""
        made.append(Request(method[1] if method else "HEAD" if head else "GET", target, headers, body.encode()))
    return tuple(made)


def _responses(text: str) -> tuple[Response, ...]:
    made = []
    for part in re.split(r"^(?=HTTP/1\.1 )", text, flags=re.MULTILINE):
        if not part.strip():
            continue
        head, _, body = part.partition("\n\n")
        first, *lines = head.splitlines()
        headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
        made.append(Response(int(first.split()[1]), headers, json.loads(body) if body.strip() else None))
    return tuple(made)


# -- doing it again --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Player:
    """Sends raw requests to a server. `names` is what recorded ids are called here."""

    host: str
    port: int
    names: dict[str, str] = field(default_factory=dict)

    def send(self, request: Request) -> Response:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            headers = {"Authorization": "Basic cm9vdDo=", **request.headers}
            connection.request(request.method, self._here(request.target), body=request.body or None, headers=headers)
            answer = connection.getresponse()
            text = answer.read()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Response(answer.status, told, json.loads(text) if text else None)
        finally:
            connection.close()

    def _here(self, target: str) -> str:
        for old, new in self.names.items():
            target = re.sub(rf"(?<=/){old}(?=[/?]|$)", new, target)
        return quote(target, safe="/?=&%@:")

    def do(self, method: str, target: str, body: Any = None) -> Any:
        """A request that prepares something; it has to succeed."""
        sent = b"" if body is None else json.dumps(body).encode()
        answer = self.send(Request(method, target, {}, sent))
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise RuntimeError(f"{method} {target}: {answer.body}")
        return answer.body

    def play(self, exchange: Exchange) -> list[Response]:
        """Do all requests; an id that a response gives is used where the record used its own."""
        made = []
        for place, request in enumerate(exchange.requests):
            answer = self.send(request)
            made.append(answer)
            following = exchange.requests[place + 1 :]
            found = re.search(r"/_api/cursor/(\d+)", following[0].target) if following else None
            if found and isinstance(answer.body, dict) and "id" in answer.body:
                self.names[found[1]] = answer.body["id"]
        return made

    # -- what has to be there before -------------------------------------------------------------------------------

    def create(self, name: str, **properties: Any) -> str:
        return str(self.do("POST", "/_api/collection", {"name": name, **properties})["id"])

    def save(self, collection: str, *docs: dict[str, Any]) -> None:
        for doc in docs:
            self.do("POST", f"/_api/document/{collection}", doc)

    def index(self, collection: str, **definition: Any) -> None:
        self.do("POST", f"/_api/index?collection={collection}", {"type": "persistent", **definition})

    def user(self, name: str) -> None:
        self.do("POST", "/_api/user", {"user": name, "passwd": "secret"})


Prepare = Callable[[Player, Exchange], None]


def _key(exchange: Exchange) -> str:
    """The key or id that stands in the path of the first request."""
    return _path(exchange.requests[0].target).split("/")[4]


def _named(exchange: Exchange) -> str:
    return _path(exchange.requests[0].target).split("/")[3]


def _document(doc: dict[str, Any], **properties: Any) -> Prepare:
    def prepare(player: Player, exchange: Exchange) -> None:
        player.create("products", **properties)
        player.save("products", {"_key": _key(exchange), **doc})

    return prepare


def _collection(name: str = "products", **properties: Any) -> Prepare:
    def prepare(player: Player, exchange: Exchange) -> None:
        number = player.create(name, **properties)
        found = re.search(r"/_api/collection/(\d+)", exchange.requests[0].target)
        if found:
            player.names[found[1]] = number

    return prepare


def _documents(
    *docs: dict[str, Any], name: str = "products", index: tuple[str, ...] = (), **properties: Any
) -> Prepare:
    def prepare(player: Player, _exchange: Exchange) -> None:
        player.create(name, **properties)
        for one in index:
            player.index(name, fields=[one])
        player.save(name, *docs)

    return prepare


def _transaction(player: Player, exchange: Exchange) -> None:
    player.create("products")
    made = player.do("POST", "/_api/transaction/begin", {"collections": {"read": "products"}})
    player.names[_named(exchange)] = made["result"]["id"]


def _with_user(grant: str = "", collection: str = "") -> Prepare:
    def prepare(player: Player, exchange: Exchange) -> None:
        name = _named(exchange)
        player.user(name)
        if grant:
            player.do("PUT", f"/_api/user/{name}/database/_system", {"grant": grant})
        if collection:
            player.create(collection)
            player.do("PUT", f"/_api/user/{name}/database/_system/{collection}", {"grant": "rw"})

    return prepare


def _collections_of_the_server(player: Player, _exchange: Exchange) -> None:
    for name in ("demo", "mycollection", "animals", "ignore"):
        player.create(name)


def _all_collections_and_user(player: Player, exchange: Exchange) -> None:
    _collections_of_the_server(player, exchange)
    _with_user("rw")(player, exchange)


def _two_collections(player: Player, _exchange: Exchange) -> None:
    player.create("products", waitForSync=True)
    player.create("other", waitForSync=True)
    player.save("other", {"_key": "2"})


def _edges(player: Player, _exchange: Exchange) -> None:
    player.create("links", type=3)
    player.create("products")


def _many_indexes(player: Player, _exchange: Exchange) -> None:
    player.create("products")
    player.index("products", fields=["name"])
    player.index("products", fields=["price"], sparse=True)


def _database(player: Player, _exchange: Exchange) -> None:
    player.do("POST", "/_api/database", {"name": "example"})


def _nothing(_player: Player, _exchange: Exchange) -> None:
    return None


_HELLOS = [{f"hello{number}": "world1"} for number in range(1, 6)]
_IDS = [{"id": number} for number in range(10)]
_TWO = [{"_key": "1", "type": "tv"}, {"_key": "2", "type": "cookbook"}]
_PEOPLE = {"inhabitants": {"china": 1366980000, "india": 1263590000, "usa": 319220000}}

# The first pattern that fits an exchange says what has to be there; the others need an empty collection.
PREPARE: dict[str, Prepare] = {
    r"CollectionCreate|CursorCreateCursor(MissingBody|Option|Unknown)|CursorInvalid|MissingCursor": _nothing,
    r"CursorOptimizer|CursorPostBatch|DatabaseGet|KeyGenerators": _nothing,
    r"^RestVersion|^RestEngine|CreateUser|^RestQuery": _nothing,
    r"PostUnknownCollection|JsonInvalidCollection|BeginNonExisting": _nothing,
    r"CollectionDelete|CollectionIdentifierRename": _collection("products1"),
    r"GetAllCollections": _collections_of_the_server,
    r"CollectionCount": _documents(*({"count": number} for number in range(100)), waitForSync=True),
    r"GetCollection(Identifier|Name)|Truncate|Unload|PostCreate1": _collection(waitForSync=True),
    r"CursorForLimitReturn|CursorPostForLimit": _documents(*_HELLOS),
    r"CursorDeleteIgnore": _documents({"_key": "foo"}),
    r"CursorDeleteQueryFail": _documents({"_key": "bar"}),
    r"CursorDeleteQuery_": _documents(*_HELLOS[:2]),
    r"CursorModifyArray": _documents({"_key": "test", "arr": [1, 2, 3]}, name="documents"),
    r"DatabaseDrop": _database,
    r"DeleteDocument(IdentifierMulti|RevConflictMulti)": _documents(*_TWO, waitForSync=True),
    r"DeleteDocumentUnknownMulti": _two_collections,
    r"PatchDocumentMerge": _document(_PEOPLE),
    r"PatchDocument_": _document({"one": "world"}),
    r"IfMatchOther|ReadDocumentHead": _document({"hello": "world"}),
    r"DocumentHandlerDeleteDocumentUnknownHandle": _collection(waitForSync=True),
    r"ImportJsonEdge": _edges,
    r"IndexAllIndexes": _many_indexes,
    r"ExplainAllPlans": _documents(index=("id",)),
    r"Explain(OptimizerRules|Options)": _documents(*_IDS, index=("id",)),
    r"ExplainValid": _documents(*_IDS),
    r"ExplainWarning": _nothing,
    r"Transaction(BeginAbort|BeginCommit|Get)_": _transaction,
    r"FetchUserDatabaseListFull": _all_collections_and_user,
    r"FetchUserDatabase": _with_user("rw"),
    r"RevokeCollection": _with_user(collection="reports"),
    r"(Fetch|Delete|Replace)User_|GrantDatabase|RevokeDatabase": _with_user(),
    r"": _collection(),
}
# Which responses were kept, where not all were.
KEPT = {
    "RestDocumentHandlerPatchDocumentMerge_single": (0, 2, 3, 4),
    "RestCursorPostForLimitReturnCont_single": (1,),
}


def prepare(player: Player, exchange: Exchange) -> None:
    next(one for pattern, one in PREPARE.items() if re.search(pattern, exchange.name))(player, exchange)


# -- comparing -------------------------------------------------------------------------------------------------------

_OPAQUE = {
    *("_rev", "_oldRev", "executionTime", "peakMemoryUsage", "lastValue", "objectId", "globallyUniqueId", "revision"),
}
_IDX = re.compile(r"idx_\d+")


def settled(value: Any, name: str = "") -> Any:
    """A body with all that differs from run to run made the same."""
    if isinstance(value, dict):
        return {_plain(one): settled(each, one) for one, each in value.items()}
    if isinstance(value, list):
        made = [settled(one) for one in value]
        if name == "result" and all(isinstance(one, dict) and "isSystem" in one for one in made):
            return sorted(made, key=lambda one: str(one["name"]))  # collections come in no order
        return made
    if name in _OPAQUE:
        return f"<{name}>"
    if name == "id" and isinstance(value, str):
        return re.sub(r"\d+$", "<number>", value)
    return _plain(value) if isinstance(value, str) else value


def _plain(text: str) -> str:
    text = _IDX.sub("idx_<number>", text)
    return re.sub(r"^(.*/)?\d{2,}$", r"\1<number>", text)


def differences(wanted: Response, got: Response) -> list[str]:
    """In what a response is not as recorded."""
    found = []
    if wanted.status != got.status:
        found.append(f"status {got.status}, not {wanted.status}")
    for name in sorted({*wanted.headers, *got.headers}):
        one, other = (_header(name, each.headers.get(name)) for each in (wanted, got))
        if one != other:
            found.append(f"header {name}: {other}, not {one}")
    found += _unlike(settled(wanted.body), settled(got.body), "body")
    return found


def _header(name: str, value: str | None) -> str | None:
    if value is None or name not in ("etag", "location", "content-length"):
        return value
    if name == "content-length":
        return "<length>"
    return re.sub(r"\"[^\"]+\"", '"<rev>"', re.sub(r"/\d{2,}(?=/|$)", "/<number>", value))


def _unlike(wanted: Any, got: Any, where: str) -> list[str]:
    if isinstance(wanted, dict) and isinstance(got, dict):
        found = []
        for name in sorted({*wanted, *got}):
            if name not in got:
                found.append(f"{where}.{name} is missing")
            elif name not in wanted:
                found.append(f"{where}.{name} is too much")
            else:
                found += _unlike(wanted[name], got[name], f"{where}.{name}")
        return found
    if isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        pairs = enumerate(zip(wanted, got, strict=True))
        return [line for place, (one, other) in pairs for line in _unlike(one, other, f"{where}[{place}]")]
    return (
        [] if wanted == got and type(wanted) is type(got) else [f"{where}: {str(got)[:200]}, not {str(wanted)[:200]}"]
    )
