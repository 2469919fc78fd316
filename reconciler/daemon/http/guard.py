"""What stands between a request and its route: whose Host it names, how often its client asks, who asks and what for,
how long it may take. Every refusal and every failure leaves as problem details.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from reconciler.daemon.http.access import ANYBODY, NOBODY, Caller, Callers, Right
from reconciler.daemon.http.clients import FORWARDED, Clients
from reconciler.daemon.http.inside import Inside
from reconciler.daemon.http.limits import Connection, Limits, Rates, body_of
from reconciler.daemon.http.problems import RETRY_S, Problem, of_failure, of_problem
from reconciler.daemon.http.repeats import Repeats
from reconciler.daemon.http.routes import JSON, TEXT, Answer, Call, Route, encoded, read_body, read_query
from reconciler.daemon.loop import Mode
from reconciler.model.errors import ReconcilerError

HEADERS = {
    "Server": "reconciler",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
IDEMPOTENCY = "Idempotency-Key"


@dataclass(slots=True, kw_only=True)
class Guard:
    """Serves routes to who may ask. `callers` tells who is known now; `hosts` whom requests may be meant for, None
    for anybody. With `anonymous` everybody may read.
    """

    inside: Inside
    callers: Callable[[], Callers]
    anonymous: bool
    hosts: frozenset[str] | None
    limits: Limits
    rates: Rates
    repeats: Repeats
    clients: Clients = field(default_factory=Clients)
    _served: dict[Handler, Route] = field(default_factory=dict)
    _known: Counter[str] = field(default_factory=Counter)
    _anybody: Counter[str] = field(default_factory=Counter)
    """Requests that are worked on, by client: those that callers of the API make, and those that anybody may make."""

    def app(self, routes: Sequence[Route]) -> web.Application:
        """An application that serves them."""
        app = web.Application(client_max_size=self.limits.body_bytes, middlewares=[self.middleware()])
        for route in routes:
            handler = self._handler(route)
            self._served[handler] = route
            add = app.router.add_get if route.method == hdrs.METH_GET else app.router.add_post
            add(route.pattern, handler)
        return app

    def middleware(self) -> Middleware:
        """What every request passes, one that nothing serves too."""

        @web.middleware
        async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
            connection = request.protocol
            if isinstance(connection, Connection):
                connection.began()
            try:
                answer = await self._answer(request, handler)
                await self._send(request, answer)
                return answer
            finally:
                if isinstance(connection, Connection):
                    connection.ended()

        return around

    async def _send(self, request: web.Request, answer: web.Response) -> None:
        """Who does not take the answer in time gets no more of it."""
        try:
            async with asyncio.timeout(self.limits.send_s):
                await answer.prepare(request)
                await answer.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()

    async def _answer(self, request: web.Request, handler: Handler) -> web.Response:
        route = self._served.get(request.match_info.handler)
        exempt = route is not None and route.exempt
        client = self.clients.of_request(request.transport, request.headers.getall(FORWARDED, []))
        working = self._anybody if route is None or route.right is None else self._known
        working[client] += not exempt
        try:
            self._admit(request, client, working, exempt=exempt)
            async with asyncio.timeout(self.limits.work_s):
                answer = await handler(request)
                assert isinstance(answer, web.Response)  # noqa: S101 - handlers are ours
        except Problem as problem:
            answer = of_problem(problem)
        except web.HTTPException as error:
            answer = _of_aiohttp(error)
        except TimeoutError:
            answer = of_problem(Problem(504, "too-slow", f"it took longer than {self.limits.work_s:g} s"))
        except ReconcilerError as error:
            answer = of_problem(of_failure(error))
        except Exception as error:  # noqa: BLE001 - a fault of ours ends one request
            text = f"{type(error).__name__}: {error}"
            self.inside.tell.say("error", "http-fault", route=route.name if route else "", error=text)
            answer = of_problem(Problem(500, "fault", "a fault of the daemon's own; its log says more"))
        finally:
            working[client] -= not exempt
            working += Counter()  # without those of whom nothing is
        if answer.status == 401:
            self.rates.take(client, self.limits.refusal_cost)
        self._finish(answer, route)
        return answer

    def _finish(self, answer: web.Response, route: Route | None) -> None:
        for name, value in HEADERS.items():
            answer.headers[name] = value
        answer.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
        if answer.status in {408, 413}:  # what follows on this connection is no request
            answer.force_close()
        self.inside.measures.answered(route.name if route is not None else "none", answer.status)

    def _admit(self, request: web.Request, client: str, working: Counter[str], *, exempt: bool) -> None:
        """Raises Problem for what is not even looked at."""
        self._for_us(request)
        if exempt:
            return
        wait = self.rates.take(client)
        if wait:
            retry = {"Retry-After": str(math.ceil(wait))}
            raise Problem(429, "too-often", "this client asks too often", headers=retry)
        if working.total() > self.limits.at_once or working[client] > self.limits.at_once_each:
            raise Problem(503, "crowded", "too many requests at once", headers={"Retry-After": str(RETRY_S)})

    def _for_us(self, request: web.Request) -> None:
        """Raises Problem where the Host is not one of ours: a page of somebody else may have had its name lead here."""
        given = request.headers.getall(hdrs.HOST, [])
        if len(given) > 1:
            raise Problem(400, "no-request", "there is more than one Host")
        if self.hosts is None:
            return
        named = {_host(given[0] if given else ""), _host(request.host)}
        if not named <= self.hosts:
            hint = "ask for it by the address that it listens at"
            raise Problem(421, "other-host", "this daemon goes by another Host", hint=hint)

    def _handler(self, route: Route) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            return await self._serve(route, request)

        return handle

    async def _serve(self, route: Route, request: web.Request) -> web.Response:
        caller = self._allowed(route, request)
        asked = read_query(request, route.asked) if route.asked is not None else None
        raw = b""
        if route.method == hdrs.METH_POST and not route.given_raw:
            raw = await body_of(request, most=self.limits.body_bytes, within_s=self.limits.body_s)
        given = read_body(request, raw, route.given) if route.given is not None else None
        call = Call(request=request, inside=self.inside, caller=caller, asked=asked, given=given)
        if route.right is not Right.WRITE:
            return _response(route, await route.handle(call), request)
        keys = request.headers.getall(IDEMPOTENCY, [])
        return await self.repeats.once(
            caller.name, keys, (route.name, request.path, raw), lambda: self._changed(route, call)
        )

    async def _changed(self, route: Route, call: Call) -> web.Response:
        answer = await route.handle(call)
        where = dict(call.request.match_info)
        self.inside.tell.say("info", "changed-over-http", by=call.caller.name, what=route.name, **where)
        return _response(route, answer, call.request)

    def _allowed(self, route: Route, request: web.Request) -> Caller:
        """Who asks, where they may. Raises Problem."""
        if route.right is None:
            return NOBODY
        callers = self.callers()
        writes = route.right is Right.WRITE
        if not callers.anybody and (writes or not self.anonymous):
            hint = "name callers in a file and give it with --access; docs/http.md shows how"
            raise Problem(403, "no-callers", "this daemon knows nobody who may ask that", hint=hint)
        caller = self._caller(request, callers)
        if caller is NOBODY:
            asks = {str(hdrs.WWW_AUTHENTICATE): 'Bearer realm="reconciler"'}
            raise Problem(401, "unknown-caller", "a token that is known is needed, or a certificate", headers=asks)
        if route.right not in caller.rights:
            raise Problem(403, "right-missing", f"{caller.name} may not {route.right.value}")
        if writes:
            self._not_from_a_page(request)
            if self.inside.mode is Mode.PLAN_ONLY:
                raise Problem(409, "plan-only", "this daemon only plans, and changes nothing")
        return caller

    def _caller(self, request: web.Request, callers: Callers) -> Caller:
        given = request.headers.getall(hdrs.AUTHORIZATION, [])
        if given:
            kind, _, token = given[0].partition(" ")
            known = callers.by_token(token.strip()) if len(given) == 1 and kind.lower() == "bearer" else None
            return known or NOBODY
        transport = request.transport
        peer = transport.get_extra_info("peercert") if transport is not None else None
        return callers.by_certificate(peer) or (ANYBODY if self.anonymous else NOBODY)

    def _not_from_a_page(self, request: web.Request) -> None:
        """Raises Problem for what a page of another origin has a browser ask, which shows a certificate unasked."""
        origin, site = request.headers.get(hdrs.ORIGIN), request.headers.get("Sec-Fetch-Site", "none")
        ours = {f"{scheme}://{request.host}" for scheme in ("http", "https")}
        if (origin is not None and origin not in ours) or site not in {"none", "same-origin"}:
            raise Problem(403, "other-origin", "pages of other origins change nothing here")


def loopback_hosts(host: str) -> frozenset[str] | None:
    """Which Hosts a listener on this machine alone goes by; None for one that others can reach."""
    try:
        alone = ipaddress.ip_address(host).is_loopback
    except ValueError:
        alone = host == "localhost"
    return frozenset({"localhost", "127.0.0.1", "::1", host}) if alone else None


def _host(text: str) -> str:
    """The name in a Host header, without its port."""
    if text.startswith("["):
        return text[1:].partition("]")[0].lower()
    return text.partition(":")[0].lower().rstrip(".")


def _response(route: Route, answer: Answer, request: web.Request) -> web.Response:
    headers: Mapping[str, str] = answer.headers
    if route.answers is str:
        return web.Response(text=answer.value, status=answer.status, headers={hdrs.CONTENT_TYPE: TEXT, **headers})
    body = encoded(answer.value)
    made = web.Response(body=body, status=answer.status, headers=headers, content_type=JSON)
    if route.right is Right.READ and answer.status == 200:
        tag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
        kept = {hdrs.ETAG: tag, hdrs.CACHE_CONTROL: "private, no-cache"}
        if tag in [one.strip().removeprefix("W/") for one in request.headers.get(hdrs.IF_NONE_MATCH, "").split(",")]:
            return web.Response(status=304, headers=kept)
        made.headers.update(kept)
    return made


def _of_aiohttp(error: web.HTTPException) -> web.Response:
    """What the router answers: nothing there, or not by this method."""
    headers = {str(hdrs.ALLOW): error.headers[hdrs.ALLOW]} if hdrs.ALLOW in error.headers else {}
    code = {404: "no-route", 405: "no-method"}.get(error.status, "no-request")
    detail = {404: "there is nothing here", 405: "not by this method"}.get(error.status, "it cannot be answered")
    return of_problem(Problem(error.status, code, detail, hint="/openapi.json says what there is", headers=headers))
