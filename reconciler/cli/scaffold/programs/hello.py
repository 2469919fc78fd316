"""A small agent: an A2A server with a health endpoint, in the standard library only.

It listens where HOST and PORT say. What it is (model, system message, skills) and the card it shows stand in files
that AGENT_CONFIG and AGENT_CARD name.
"""

import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MAX_BODY = 1024 * 1024
CARD_PATH = "/.well-known/agent-card.json"


def read(variable: str) -> dict[str, Any]:
    """The JSON file that an environment variable names; nothing without one."""
    path = os.environ.get(variable)
    found: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    return found


AGENT = read("AGENT_CONFIG")
CARD = read("AGENT_CARD")


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The reply to one JSON-RPC request of A2A (`message/send`)."""
    reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request.get("id")}
    if request.get("method") not in ("message/send", "SendMessage"):
        return reply | {"error": {"code": -32601, "message": "only message/send is known here"}}
    parts = request.get("params", {}).get("message", {}).get("parts", [])
    said = " ".join(str(part.get("text", "")) for part in parts).strip()
    text = f"Hello! You said: {said}" if said else "Hello!"
    message = {"role": "agent", "messageId": f"reply-{request.get('id')}", "parts": [{"kind": "text", "text": text}]}
    return reply | {"result": {"kind": "message", **message}}


class Handler(BaseHTTPRequestHandler):
    """The three things that an agent answers: is it well, what is it, and a message."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self.reply(200, {"status": "ok"})
        elif self.path == CARD_PATH:
            self.reply(200, CARD)
        else:
            self.reply(404, {"error": "not found"})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= MAX_BODY:
            self.reply(413, {"error": "a body of 1 byte to 1 MiB is expected"})
            return
        try:
            body = json.loads(self.rfile.read(length))
            self.reply(200, answer(body))
        except (ValueError, AttributeError, TypeError):
            self.reply(400, {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "not JSON-RPC"}})

    def reply(self, status: int, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, template: str, *args: object) -> None:
        if self.path != "/healthz":
            print(template % args, flush=True)


def main() -> None:
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8080"))
    server = ThreadingHTTPServer((host, port), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"{AGENT.get('name', 'hello')} listens on {host}:{port}", flush=True)
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main()
