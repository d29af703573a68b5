"""Stubs of web services, on this machine: what their servers have in common."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, TypeVar


class Server(ThreadingHTTPServer):
    """A server on a free port; `sent` are the requests so far."""

    def __init__(self, handler: type["Handler"]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.sent: list[str] = []

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def address(self) -> str:
        return f"http://{self.host}"


Serving = TypeVar("Serving", bound=Server)


@contextmanager
def serving(server: Serving) -> Iterator[Serving]:
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    """A request, of any method: `respond` is given its body and calls `answer`, whose data a HEAD is not sent."""

    server: Server
    protocol_version = "HTTP/1.1"

    def respond(self, body: bytes) -> None:
        raise NotImplementedError

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.sent.append(f"{self.command} {self.path}")
        self.respond(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def answer(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def answer_json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"} | (headers or {}))
