"""A stub of the Hugging Face Hub with one repository of data, private: what its file system asks of the Hub."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from tests import loopback

TOKEN = "hf_s3cr3t0f7h3t3s7s"
NAME = "birder/owls"
_COMMIT = "a" * 40


class DatasetHub(loopback.Server):
    """`files` by name."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(_Handler)
        self.files = files


class _Handler(loopback.Handler):
    server: DatasetHub

    def respond(self, _: bytes) -> None:
        path, api = unquote(urlsplit(self.path).path), f"/api/datasets/{NAME}"
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif path in (api, f"{api}/revision/main"):
            self.answer_json({"id": NAME, "sha": _COMMIT, "siblings": []})
        elif path.startswith(f"{api}/tree/main"):
            self.answer_json(list(self._tree(path.removeprefix(f"{api}/tree/main").strip("/"))))
        elif path.startswith(f"/datasets/{NAME}/resolve/main/"):
            self._read(path.removeprefix(f"/datasets/{NAME}/resolve/main/"))
        else:
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

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
            self.answer(200, data)
            return
        part = data[int(start) : int(end) + 1 if end else None]
        self.answer(206, part, {"Content-Range": f"bytes {start}-{int(start) + len(part) - 1}/{len(data)}"})

    def answer(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
        super().answer(status, data, {"X-Repo-Commit": _COMMIT, "ETag": '"1"'} | (headers or {}))
