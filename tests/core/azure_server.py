"""A stub of Azure's Blob service on this machine: as much of its REST API as Arrow's client needs here.

One container of one account with a flat namespace, as learn.microsoft.com/rest/api/storageservices says. Any key
is taken: signatures are not looked at.
"""

import base64
import re
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests import loopback

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


class Azure(loopback.Server):
    """`blobs` by name; a `status` refuses all."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.blobs: dict[str, bytes] = {}
        self.blocks: dict[tuple[str, str], bytes] = {}
        self.status = 0

    @property
    def options(self) -> str:
        """Those of an address."""
        services = (f"{name}_storage_authority={self.host}&{name}_storage_scheme=http" for name in ("blob", "dfs"))
        return "&".join(services)


class _Handler(loopback.Handler):
    server: Azure

    def respond(self, body: bytes) -> None:
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
            self.answer(200, self._listing(asked.get("prefix", ""), asked.get("delimiter", "")))
        elif asked.get("comp") == "batch":
            self._batch(body)
        else:
            self.answer(200)

    def _blob(self, name: str, asked: dict[str, str], body: bytes) -> None:
        blobs, blocks, what = self.server.blobs, self.server.blocks, asked.get("comp")
        if self.command == "PUT":
            if what == "block":
                blocks[name, asked["blockid"]] = body
            elif what == "blocklist":
                blobs[name] = b"".join(blocks[name, one] for one in re.findall("<Latest>(.*?)<", body.decode()))
            elif source := self.headers.get("x-ms-copy-source"):
                blobs[name] = blobs[unquote(urlsplit(source).path).split("/", 3)[3]]
                self.answer(202)
                return
            elif what is None:
                blobs[name] = body
            self.answer(201)
        elif name not in blobs:
            self._fail(404, "BlobNotFound")
        elif self.command == "DELETE":
            del blobs[name]
            self.answer(202)
        else:
            self._read(blobs[name])

    def _read(self, data: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("x-ms-range") or "")
        if not wanted:
            self.answer(200, data)
            return
        start, end = int(wanted[1]), int(wanted[2] or len(data) - 1) + 1
        part = data[start:end]
        self.answer(206, part, {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(data)}"})

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
        self.answer(
            202, ("".join(answers) + "--batch--").encode(), {"Content-Type": "multipart/mixed; boundary=batch"}
        )

    def _fail(self, status: int, code: str) -> None:
        self.answer(status, headers={"x-ms-error-code": code})

    def answer(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
        kind = {"Content-Type": "application/xml"} if data else {}
        super().answer(status, data, _HEADERS | kind | (headers or {}))
