"""A service that keeps objects, and speaks as S3, Google Cloud Storage and Azure Blob Storage do: what uploads need.

S3 and Google's XML interface agree on uploads in parts (`?uploads`, `?partNumber=…&uploadId=…`, `?uploadId=…`); Azure
has blocks (`?comp=block&blockid=…`, `?comp=blocklist`). Sources: the AWS S3, Cloud Storage XML and Azure Blob Storage
REST references.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit


class Buckets:
    """`objects` by path, finished ones; `unfinished` uploads; who asked, and whether to be `away`."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.unfinished: dict[str, dict[str, bytes]] = {}
        self.credentials: set[str] = set()
        self.parts = 0
        self.away = False
        self.url = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    buckets: ClassVar[Buckets]
    numbers: ClassVar[Iterator[int]]

    def do_PUT(self) -> None:
        path, query, body = self._request()
        if self.buckets.away:
            return self._answer(403)
        if part := query.get("partNumber") or query.get("blockid"):
            self.buckets.parts += 1
            self.buckets.unfinished.setdefault(query.get("uploadId", path), {})[part] = body
        elif query.get("comp") == "blocklist":
            named = re.findall(r"<(?:Latest|Uncommitted)>(.*?)</", body.decode())
            blocks = self.buckets.unfinished.pop(path, {})
            self.buckets.objects[path] = b"".join(blocks[name] for name in named)
        else:
            self.buckets.objects[path] = body
        self._answer(201 if "x-ms-version" in self.headers else 200)

    def do_POST(self) -> None:
        path, query, body = self._request()
        if self.buckets.away:
            return self._answer(403)
        if query.get("comp") == "batch":
            return self._answer_batch(body.decode())
        if "uploads" in query:
            upload = f"upload-{next(self.numbers)}"
            self.buckets.unfinished[upload] = {}
            kind = "InitiateMultipartUploadResult"
            found = f"<Bucket>b</Bucket><Key>{path}</Key><UploadId>{upload}</UploadId>"
        elif "delete" in query:
            kind, found = "DeleteResult", ""
            for key in re.findall(r"<Key>(.*?)</Key>", body.decode()):
                self.buckets.objects.pop(f"{path.rstrip('/')}/{key}", None)
                found += f"<Deleted><Key>{key}</Key></Deleted>"
        else:
            parts = self.buckets.unfinished.pop(query["uploadId"])
            self.buckets.objects[path] = b"".join(parts[number] for number in sorted(parts, key=int))
            kind = "CompleteMultipartUploadResult"
            found = f'<Location>{path}</Location><Bucket>b</Bucket><Key>{path}</Key><ETag>"1"</ETag>'
        self._answer(200, f'<?xml version="1.0" encoding="UTF-8"?><{kind}>{found}</{kind}>'.encode())

    def do_GET(self) -> None:
        path, _, _ = self._request()
        content = self.buckets.objects.get(path)
        if content is None or self.buckets.away:
            return self._answer(403 if self.buckets.away else 404)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or self.headers.get("x-ms-range") or "")
        if asked is None:
            return self._answer(200, content)
        start, end = int(asked[1]), min(int(asked[2]) + 1, len(content))
        return self._answer(206, content[start:end], f"bytes {start}-{end - 1}/{len(content)}")

    def do_DELETE(self) -> None:
        path, query, _ = self._request()
        if "uploadId" in query:
            self.buckets.unfinished.pop(query["uploadId"], None)
        elif self.buckets.objects.pop(path, None) is None:
            return self._answer(404)
        return self._answer(202 if "x-ms-version" in self.headers else 204)

    def _answer_batch(self, asked: str) -> None:
        """Azure's way to delete several: requests and answers within the bodies of one."""
        answers = ""
        for number, path in re.findall(r"Content-ID: (\d+).*?DELETE (\S+) HTTP", asked, re.DOTALL):
            there = self.buckets.objects.pop(unquote(path), None) is not None
            status = "202 Accepted" if there else "404 The specified blob does not exist."
            head = f"--batch\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\nHTTP/1.1 {status}\r\n"
            answers += f"{head}x-ms-version: 2023-11-03\r\n\r\n"
        self._answer(202, f"{answers}--batch--\r\n".encode(), kind="multipart/mixed; boundary=batch")

    def _request(self) -> tuple[str, dict[str, str], bytes]:
        parts = urlsplit(self.path)
        self.buckets.credentials.add(self.headers.get("Authorization", "").partition(" ")[0])
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        return unquote(parts.path), query, body

    def _answer(
        self, status: int, body: bytes = b"", content_range: str | None = None, kind: str = "application/xml"
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", formatdate(usegmt=True))
        self.send_header("x-ms-blob-type", "BlockBlob")
        if content_range is not None:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def buckets() -> Iterator[Buckets]:
    kept = Buckets()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"buckets": kept, "numbers": count()}))
    kept.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
