"""A stand-in for Kaggle and for any other web server, on loopback.

KAGGLE_API_ENVIRONMENT=TEST sends the real client to http://localhost:7777. As Kaggle does, the stub answers
DownloadDataset with a redirect to a signed address on another host (127.0.0.1), which serves byte ranges.
"""

import contextlib
import errno
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

PORT = 7777
SIGNATURE = "X-Goog-Signature=5ecre7516na7ure"
DOWNLOAD = "/api/v1/datasets.DatasetApiService/DownloadDataset"


@dataclass
class Asked:
    """One request that came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Stub:
    """What to serve, and what was asked. Each request takes one off the matching list of troubles, if any."""

    files: dict[str, bytes] = field(default_factory=dict)  # path -> content
    etag: str = '"version-1"'
    ranges: bool = True
    api_troubles: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # status, headers
    # Status, "cut", "stall", "lie", "no length", "odd length", or a byte now and then: "drip", "drip headers".
    file_troubles: list[str | int] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    stalling: threading.Event = field(default_factory=threading.Event)  # a "stall" has sent its half
    go_on: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{PORT}"

    def of(self, path: str) -> list[Asked]:
        return [one for one in self.asked if urlsplit(one.path).path == path]


class Handler(BaseHTTPRequestHandler):
    stub: Stub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._record(body)
        if self.path != DOWNLOAD:
            self._answer(404, {})
        elif self.stub.api_troubles:
            self._answer(*self.stub.api_troubles.pop(0))
        else:
            wanted: dict[str, Any] = json.loads(body)
            version = wanted.get("datasetVersionNumber") or "newest"
            path = f"/storage/{wanted['ownerSlug']}/{wanted['datasetSlug']}/{version}"
            found = path in self.stub.files
            self._answer(302 if found else 404, {"Location": f"{self.stub.url}{path}?{SIGNATURE}"})

    def do_GET(self) -> None:
        self._record(b"")
        content = self.stub.files.get(urlsplit(self.path).path)
        trouble = self.stub.file_troubles.pop(0) if self.stub.file_troubles else ""
        if isinstance(trouble, int) or content is None:
            self._answer(trouble if isinstance(trouble, int) else 404, {}, b"<html>an error page</html>")
            return
        start = self._start()
        if start >= len(content):
            self._answer(416, {})
            return
        status = 206 if start else 200
        headers = {
            **({"ETag": self.stub.etag} if self.stub.etag else {}),
            "Content-Length": str(len(content) - start + 10 * (trouble == "lie")),
        }
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if trouble == "no length":
            del headers["Content-Length"]
        if trouble == "odd length":
            headers["Content-Length"] = "abc"
        if str(trouble).startswith("drip"):
            self._drip(headers if trouble == "drip" else None)
            return
        rest = content[start:]
        self._send(status, headers, rest[: len(rest) // 2] if trouble in ("cut", "stall") else rest)
        if trouble == "stall":
            self.stub.stalling.set()
            self.stub.go_on.wait(60)

    def _drip(self, headers: dict[str, str] | None) -> None:
        """A byte now and then: of the body, or already of the answer's first line."""
        if headers is not None:
            self._send(200, headers, b"")
        else:
            self.wfile.write(b"HTTP/1.0 200 ")
        with contextlib.suppress(ConnectionError):
            while not self.stub.go_on.wait(0.05):
                self.wfile.write(b".")

    def _start(self) -> int:
        """First byte asked for, 0 where the whole file is due."""
        wanted = self.headers.get("Range", "")
        same = self.headers.get("If-Range", self.stub.etag) == self.stub.etag
        return int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.stub.ranges and same else 0

    def _record(self, body: bytes) -> None:
        self.stub.asked.append(Asked(self.command, self.path, dict(self.headers), body))

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self._send(status, {"Content-Length": str(len(body)), **headers}, body)

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client closes what it does not want to read
            self.wfile.write(body)  # HTTP/1.0: the connection closes after each answer

    def log_message(self, *_: object) -> None:
        pass


def serve(stub: Stub) -> ThreadingHTTPServer:
    """Start serving; `shutdown` and `server_close` the result. Waits for the port, which others may hold."""
    handler = type("Bound", (Handler,), {"stub": stub})
    for _ in range(300):
        try:
            server = ThreadingHTTPServer(("127.0.0.1", PORT), handler)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            time.sleep(0.2)
        else:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            return server
    raise RuntimeError(f"port {PORT} stays taken")
