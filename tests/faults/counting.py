"""A service that nodes with effects call, and that counts: `python -m tests.faults.counting`, a process of its own.

A call is a POST with an `Idempotency-Key` and `{"v": …, "seconds": …, "failures": …}`. It takes `seconds`; the first
`failures` calls under a key are refused. GET answers with all calls in order of arrival. The service ends when its
standard input does, so it doesn't outlive whoever started it.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import httpx
import msgspec
from msgspec import Struct

from tests.support.processes import ROOT, environment


class Call(Struct):
    """`status` is what the service answered; None while it has not."""

    key: str
    body: Any
    status: int | None = None


class Handler(BaseHTTPRequestHandler):
    calls: ClassVar[list[Call]] = []
    lock = threading.Lock()

    def do_GET(self) -> None:
        with self.lock:
            self._answer(200, msgspec.json.encode(self.calls))

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        if len(sent := self.rfile.read(length)) < length:
            return  # who called died while it did
        body = msgspec.json.decode(sent)
        call = Call(self.headers["Idempotency-Key"], body)
        with self.lock:
            earlier = sum(one.key == call.key for one in self.calls)
            self.calls.append(call)
        time.sleep(body["seconds"])
        call.status = 503 if earlier < body["failures"] else 200
        self._answer(call.status, b"{}")

    def _answer(self, status: int, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # who called is dead

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


class Counting:
    def __init__(self, url: str) -> None:
        self.url = url

    def calls(self) -> list[Call]:
        return msgspec.json.decode(httpx.get(self.url, timeout=30).content, type=list[Call])


@contextmanager
def counting() -> Iterator[Counting]:
    command = [sys.executable, "-m", "tests.faults.counting"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=environment()) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Counting(process.stdout.readline().strip())
        finally:
            process.stdin.close()


def main() -> None:
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
