"""A stub of the Hugging Face Hub on this machine: as much of its HTTP API as its client needs here.

One repository, made by the first push; private, so that all but a bearer of TOKEN are told that there is none.
"""

import base64
import hashlib
import json
from typing import Any

from tests import loopback

TOKEN = "hf_s3cr3t0f7h3t3s7s"
NAME = "birder/owls"
LARGE = 10_000_000  # bytes, or a name that ends as one of Git LFS


class Hub(loopback.Server):
    """`files` by name are those of the last commit; a `status` refuses all."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.made: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.commit = ""
        self.status = 0


class _Handler(loopback.Handler):
    server: Hub

    def respond(self, body: bytes) -> None:
        path = self.path.partition("?")[0]
        if self.command == "PUT":
            self.server.blobs[path.rpartition("/")[2]] = body
            self.answer(200)
        elif self.server.status:
            self.answer_json({"error": "not today"}, self.server.status)
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer_json({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
        elif self.command == "POST":
            self._post(path, body)
        else:
            self._get(path)

    def _post(self, path: str, body: bytes) -> None:
        if path == "/api/repos/create":
            if self.server.made:
                self.answer_json(
                    {"error": "You already created this model repo", "url": f"{self.server.address}/{NAME}"}, 409
                )
                return
            self.server.made = json.loads(body)
            self.answer_json({"url": f"{self.server.address}/{NAME}"})
        elif path == "/api/validate-yaml":
            self.answer_json({"errors": [], "warnings": []})
        elif path == f"/api/models/{NAME}/preupload/main":
            self.answer_json(
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
            self.answer_json(
                {"transfer": "basic", "objects": [one | {"actions": put[one["oid"]]} for one in objects]}
            )
        elif path == f"/api/models/{NAME}/commit/main":
            self._commit([json.loads(line) for line in body.splitlines()])
        else:
            self.answer_json({"error": path}, 404)

    def _get(self, path: str) -> None:
        if path in (f"/api/models/{NAME}", f"/api/models/{NAME}/revision/main"):
            self.answer_json({"id": NAME, "sha": self.server.commit, "siblings": []})
        elif path.startswith(f"/api/models/{NAME}/tree/"):
            self.answer_json(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": _oid(data)}
                    for name, data in self.server.files.items()
                ]
            )
        elif path.startswith(f"/{NAME}/resolve/"):
            self._resolve(*path.removeprefix(f"/{NAME}/resolve/").split("/", 1))
        else:
            self.answer_json({"error": path}, 404)

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
        self.answer_json({"success": True, "commitUrl": url, "commitOid": self.server.commit, "hookOutput": ""})

    def _resolve(self, revision: str, name: str) -> None:
        if revision not in ("main", self.server.commit):
            self.answer_json({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        elif name not in self.server.files:
            self.answer_json(
                {"error": "Entry not found"},
                404,
                {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self.server.commit},
            )
        else:
            data = self.server.files[name]
            self.answer(200, data, {"X-Repo-Commit": self.server.commit, "ETag": f'"{_oid(data)}"'})


def _mode(file: dict[str, Any]) -> str:
    large = file["size"] > LARGE or file["path"].endswith((".keras", ".h5", ".npy", ".npz"))
    return "lfs" if large else "regular"


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
