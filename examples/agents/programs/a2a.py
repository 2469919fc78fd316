"""A small A2A server, standard library only: agent card, health, and `message/send` over JSON-RPC.

A program hands `serve` a function from a message's text to the answer's. Where to listen and who one is comes from
the environment: HOST, PORT, AGENT_CONFIG (agent.json) and AGENT_CARD (agent-card.json).
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import threading
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MAX_BODY = 1 << 20
REQUEST_TIMEOUT_S = 10
QUIET_S = 0.25
"""After SIGTERM: how long nobody may have come in before the door is shut."""
METHODS = frozenset({"message/send", "SendMessage"})
CARD_PATH = "/.well-known/agent-card.json"

Config = dict[str, Any]
Answer = Callable[[str, Config], str]


def read_json(variable: str) -> dict[str, Any]:
    """The JSON file that an environment variable names; {} where it names none."""
    path = os.environ.get(variable)
    if not path:
        return {}
    found: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return found


class RpcError(Exception):
    """A JSON-RPC 2.0 error with its code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def text_of(params: Any) -> str:
    """The text parts of a message, joined. Raises RpcError when there is no message."""
    try:
        parts = params["message"]["parts"]
        texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    except (TypeError, KeyError, AttributeError):
        raise RpcError(-32602, "params.message.parts is missing") from None
    if not any(texts):
        raise RpcError(-32602, "the message has no text part")
    return "\n".join(texts)


def reply(method: str, text: str) -> dict[str, Any]:
    """A message as result: as A2A 1.0 (`SendMessage`) or as the versions before (`message/send`) write it."""
    if method == "SendMessage":
        return {"message": {"messageId": uuid.uuid4().hex, "role": "ROLE_AGENT", "parts": [{"text": text}]}}
    return {
        "kind": "message",
        "messageId": uuid.uuid4().hex,
        "role": "agent",
        "parts": [{"kind": "text", "text": text}],
    }


def parse(body: bytes) -> tuple[Any, str, Any]:
    """Id, method and params of a call. Raises RpcError for what is none."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise RpcError(-32700, "the body is not JSON") from None
    if not isinstance(request, dict) or request.get("jsonrpc") != "2.0":
        raise RpcError(-32600, "not a JSON-RPC 2.0 request")
    return request.get("id"), str(request.get("method")), request.get("params")


def call(body: bytes, answer: Answer, config: Config) -> dict[str, Any]:
    """One JSON-RPC call, answered or refused."""
    known = None
    try:
        known, method, params = parse(body)
        message = text_of(params) if method in METHODS else ""
        if not message:
            return failure(known, -32601, f"unknown method {method!r}; this agent knows message/send")
        return {"jsonrpc": "2.0", "id": known, "result": reply(method, answer(message, config))}
    except RpcError as error:
        return failure(known, error.code, str(error))
    except ValueError as error:
        return failure(known, -32602, f"cannot do that: {error}")


def failure(known: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": known, "error": {"code": code, "message": message}}


def handler(answer: Answer, config: Config, card: dict[str, Any]) -> type[BaseHTTPRequestHandler]:
    """A request handler. It speaks HTTP/1.0: one request a connection, so that no idle one is open at the end."""

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT_S

        def do_GET(self) -> None:
            if self.path == "/healthz":
                self.answer_json(200, {"status": "ok"})
            elif self.path == CARD_PATH:
                self.answer_json(200, card)
            else:
                self.answer_json(404, {"error": "not found"})

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit():
                self.answer_json(411, {"error": "Content-Length is needed"})
            elif int(length) > MAX_BODY:
                self.answer_json(413, {"error": f"at most {MAX_BODY} bytes"})
            else:
                self.answer_json(200, call(self.rfile.read(int(length)), answer, config))

        def answer_json(self, status: int, value: dict[str, Any]) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
            if os.environ.get("LOG") == "debug":
                super().log_message(format, *args)

    return Handler


class Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def server_bind(self) -> None:
        """As HTTPServer does, but without asking a resolver for the host's name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def drain(self) -> None:
        """Take in whoever knocked before the door shuts; then wait until all have their answer."""
        while select.select([self.socket], [], [], QUIET_S)[0]:
            self._handle_request_noblock()  # type: ignore[attr-defined]
        self.server_close()


def serve(answer: Answer) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish what was begun."""
    threading.stack_size(512 * 1024)
    config = read_json("AGENT_CONFIG")
    card = read_json("AGENT_CARD") or {"name": config.get("name", "agent"), "skills": []}
    address = (os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8080")))
    server = Server(address, handler(answer, config.get("config", {}), card))

    def stop(*_: Any) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"{card['name']} listens on {server.server_name}:{server.server_port}", flush=True)
    server.serve_forever(poll_interval=0.1)
    server.drain()
    print("all answered, good bye", flush=True)
