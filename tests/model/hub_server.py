"""A stub of the Hugging Face Hub on this machine: as much of its HTTP API as its client needs here.

One repository, made by the first push; private, so that all but a bearer of TOKEN are told that there is none.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_s3cr3t0f7h3t3s7s"
NAME = "birder/owls"
LARGE = 10_000_000  # bytes, or a name that ends as one of Git LFS


class Hub(ThreadingHTTPServer):
    """`files` by name are those of the last commit, `sent` the requests so far; a `status` refuses all."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.made: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.commit = ""
        self.sent: list[str] = []
        self.status = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()
    thread = Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body, path = self._begin()
        if self._refused():
            return
        if path == "/api/repos/create":
            if self.server.made:
                self._json(
                    {"error": "You already created this model repo", "url": f"{self.server.address}/{NAME}"}, 409
                )
                return
            self.server.made = json.loads(body)
            self._json({"url": f"{self.server.address}/{NAME}"})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path == f"/api/models/{NAME}/preupload/main":
            self._json(
                {
                    "files": [
                        {"path": one["path"], "uploadMode": _mode(one), "shouldIgnore": False}
                        for one in json.loads(body)["files"]
                    ]
                }
            )
        elif path == f"/{NAME}.git/info/lfs/objects/batch":
            objects = json.loads(body)["objects"]
            put = {one["oid"]: {"upload": {"href": f"{self.server.address}/lfs/{one['oid']}"}} for one in objects}
            self._json({"transfer": "basic", "objects": [one | {"actions": put[one["oid"]]} for one in objects]})
        elif path == f"/api/models/{NAME}/commit/main":
            self._commit([json.loads(line) for line in body.splitlines()])
        else:
            self._json({"error": path}, 404)

    def do_PUT(self) -> None:
        body, path = self._begin()
        self.server.blobs[path.rpartition("/")[2]] = body
        self._answer(b"")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        _, path = self._begin()
        if self._refused():
            return
        if path in (f"/api/models/{NAME}", f"/api/models/{NAME}/revision/main"):
            self._json({"id": NAME, "sha": self.server.commit, "siblings": []})
        elif path.startswith(f"/api/models/{NAME}/tree/"):
            self._json(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": _oid(data)}
                    for name, data in self.server.files.items()
                ]
            )
        elif path.startswith(f"/{NAME}/resolve/"):
            self._resolve(*path.removeprefix(f"/{NAME}/resolve/").split("/", 1))
        else:
            self._json({"error": path}, 404)

    def _begin(self) -> tuple[bytes, str]:
        self.server.sent.append(f"{self.command} {self.path}")
        return self.rfile.read(int(self.headers.get("Content-Length") or 0)), self.path.partition("?")[0]

    def _refused(self) -> bool:
        if self.server.status:
            self._json({"error": "not today"}, self.server.status)
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
        else:
            return False
        return True

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.server.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                data = self.server.blobs[value["oid"]]
                assert hashlib.sha256(data).hexdigest() == value["oid"] and len(data) == value["size"]
                self.server.files[value["path"]] = data
        self.server.commit = hashlib.sha1(repr(sorted(self.server.files.items())).encode()).hexdigest()
        url = f"{self.server.address}/{NAME}/commit/{self.server.commit}"
        self._json({"success": True, "commitUrl": url, "commitOid": self.server.commit, "hookOutput": ""})

    def _resolve(self, revision: str, name: str) -> None:
        if revision not in ("main", self.server.commit):
            self._json({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        elif name not in self.server.files:
            self._json(
                {"error": "Entry not found"},
                404,
                {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self.server.commit},
            )
        else:
            data = self.server.files[name]
            self._answer(data, headers={"X-Repo-Commit": self.server.commit, "ETag": f'"{_oid(data)}"'})

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._answer(json.dumps(value).encode(), status, {"Content-Type": "application/json"} | (headers or {}))

    def _answer(self, data: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _mode(file: dict[str, Any]) -> str:
    large = file["size"] > LARGE or file["path"].endswith((".keras", ".h5", ".npy", ".npz"))
    return "lfs" if large else "regular"


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
