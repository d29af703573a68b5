"""A stub of the Hugging Face Hub with one repository of data, private: what its file system asks of the Hub."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_s3cr3t0f7h3t3s7s"
NAME = "birder/owls"
_COMMIT = "a" * 40


class DatasetHub(ThreadingHTTPServer):
    """`files` by name; `sent` are the requests so far."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.sent: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[DatasetHub]:
    hub = DatasetHub(files)
    Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: DatasetHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.sent.append(f"{self.command} {self.path}")
        path, api = unquote(urlsplit(self.path).path), f"/api/datasets/{NAME}"
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(b"{}", 401, {"X-Error-Code": "RepoNotFound"})
        elif path in (api, f"{api}/revision/main"):
            self._json({"id": NAME, "sha": _COMMIT, "siblings": []})
        elif path.startswith(f"{api}/tree/main"):
            self._json(list(self._tree(path.removeprefix(f"{api}/tree/main").strip("/"))))
        elif path.startswith(f"/datasets/{NAME}/resolve/main/"):
            self._read(path.removeprefix(f"/datasets/{NAME}/resolve/main/"))
        else:
            self._answer(b"{}", 404, {"X-Error-Code": "RepoNotFound"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _tree(self, below: str) -> Iterator[dict[str, Any]]:
        files = {
            name: data for name, data in self.server.files.items() if name.startswith(f"{below}/" * bool(below))
        }
        above = {name[:end] for name in files for end in range(len(name)) if name[end] == "/"}
        yield from ({"type": "directory", "path": name, "oid": _COMMIT} for name in sorted(above - {below}))
        for name, data in files.items():
            yield {"type": "file", "path": name, "size": len(data), "oid": _COMMIT}

    def _read(self, name: str) -> None:
        data = self.server.files[name]
        start, _, end = (self.headers.get("Range") or "").removeprefix("bytes=").partition("-")
        if not start:
            self._answer(data)
            return
        part = data[int(start) : int(end) + 1 if end else None]
        self._answer(part, 206, {"Content-Range": f"bytes {start}-{int(start) + len(part) - 1}/{len(data)}"})

    def _json(self, value: Any) -> None:
        self._answer(json.dumps(value).encode(), 200, {"Content-Type": "application/json"})

    def _answer(self, data: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"X-Repo-Commit": _COMMIT, "ETag": '"1"'} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
