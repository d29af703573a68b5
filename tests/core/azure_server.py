"""A stub of Azure's Blob service on this machine: as much of its REST API as Arrow's client needs here.

One container of one account with a flat namespace, as learn.microsoft.com/rest/api/storageservices says. Any key
is taken: signatures are not looked at.
"""

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

ACCOUNT, CONTAINER = "drawn", "birds"
KEY = base64.b64encode(b"s3cr3t of the tests").decode()
_TIME = "Sat, 28 Nov 2026 20:00:00 GMT"
_HEADERS = {  # Azure's library takes them for granted
    "Last-Modified": _TIME,
    "ETag": '"1"',
    "x-ms-blob-type": "BlockBlob",
    "x-ms-copy-id": "1",
    "x-ms-copy-status": "success",
    "x-ms-creation-time": _TIME,
    "x-ms-has-immutability-policy": "false",
    "x-ms-has-legal-hold": "false",
    "x-ms-lease-id": "00000000-0000-0000-0000-000000000000",
    "x-ms-lease-state": "available",
    "x-ms-lease-status": "unlocked",
    "x-ms-lease-time": "0",
    "x-ms-request-id": "1",
    "x-ms-request-server-encrypted": "true",
    "x-ms-server-encrypted": "true",
    "x-ms-version": "2023-01-01",
}


class Azure(ThreadingHTTPServer):
    """`blobs` by name; a `status` refuses all."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.blobs: dict[str, bytes] = {}
        self.folders: set[str] = set()
        self.blocks: dict[tuple[str, str], bytes] = {}
        self.status = 0

    @property
    def options(self) -> str:
        """Those of an address."""
        host = f"127.0.0.1:{self.server_address[1]}"
        services = (f"{name}_storage_authority={host}&{name}_storage_scheme=http" for name in ("blob", "dfs"))
        return "&".join(services)


@contextmanager
def serving() -> Iterator[Azure]:
    server = Azure()
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Azure
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        account, container, *rest = unquote(address.path).strip("/").split("/", 2)
        if self.server.status:
            self._fail(self.server.status, "AuthorizationFailure")
        elif (account, container) != (ACCOUNT, CONTAINER):
            self._fail(404, "ContainerNotFound")
        elif rest:
            is_folder = unquote(address.path).endswith("/")
            self._blob(rest[0] + "/" * is_folder, asked, body)
        elif asked.get("action"):
            self._fail(400, "HierarchicalNamespaceNotEnabled")
        elif asked.get("comp") == "list":
            self._answer(200, self._listing(asked.get("prefix", ""), asked.get("delimiter", "")))
        elif asked.get("comp") == "batch":
            self._batch(body)
        else:
            self._answer(200)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def _blob(self, name: str, asked: dict[str, str], body: bytes) -> None:
        blobs, blocks, what = self.server.blobs, self.server.blocks, asked.get("comp")
        if self.command == "PUT":
            if what == "block":
                blocks[name, asked["blockid"]] = body
            elif what == "blocklist":
                blobs[name] = b"".join(blocks[name, one] for one in re.findall("<Latest>(.*?)<", body.decode()))
            elif source := self.headers.get("x-ms-copy-source"):
                blobs[name] = blobs[unquote(urlsplit(source).path).split("/", 3)[3]]
                self._answer(202)
                return
            elif what is None:
                blobs[name] = body
            self._answer(201)
        elif name not in blobs:
            self._fail(404, "BlobNotFound")
        elif self.command == "DELETE":
            del blobs[name]
            self._answer(202)
        else:
            self._read(blobs[name])

    def _read(self, data: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("x-ms-range") or "")
        if not wanted:
            self._answer(200, data)
            return
        start, end = int(wanted[1]), int(wanted[2] or len(data) - 1) + 1
        part = data[start:end]
        self._answer(206, part, {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(data)}"})

    def _listing(self, prefix: str, delimiter: str) -> bytes:
        names: list[str] = []
        folders: list[str] = []
        for name in sorted(one for one in self.server.blobs if one.startswith(prefix)):
            head, mark, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            (folders if mark else names).append(prefix + head + mark if delimiter else name)
        blobs = "".join(
            f"<Blob><Name>{escape(name)}</Name><Properties><Creation-Time>{_TIME}</Creation-Time>"
            f"<Last-Modified>{_TIME}</Last-Modified><Etag>1</Etag><BlobType>BlockBlob</BlobType>"
            f"<Content-Length>{len(self.server.blobs[name])}</Content-Length></Properties></Blob>"
            for name in names
        )
        blobs += "".join(
            f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>" for name in dict.fromkeys(folders)
        )
        return (
            '<?xml version="1.0" encoding="utf-8"?>'
            f'<EnumerationResults ServiceEndpoint="http://127.0.0.1/" ContainerName="{CONTAINER}">'
            f"<Prefix>{escape(prefix)}</Prefix><Blobs>{blobs}</Blobs><NextMarker /></EnumerationResults>"
        ).encode()

    def _batch(self, body: bytes) -> None:
        answers = []
        for number, found in enumerate(
            re.findall(rb"\r\nDELETE /\S*?" + CONTAINER.encode() + rb"/(\S+) HTTP", body)
        ):
            self.server.blobs.pop(unquote(found.decode().partition("?")[0]), None)
            headers = "".join(f"{name}: {value}\r\n" for name, value in _HEADERS.items())
            answers.append(
                f"--batch\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
                f"HTTP/1.1 202 Accepted\r\n{headers}\r\n"
            )
        self._answer(
            202, ("".join(answers) + "--batch--").encode(), {"Content-Type": "multipart/mixed; boundary=batch"}
        )

    def _fail(self, status: int, code: str) -> None:
        self._answer(status, headers={"x-ms-error-code": code})

    def _answer(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        kind = {"Content-Type": "application/xml"} if data else {}
        for name, value in (_HEADERS | kind | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
