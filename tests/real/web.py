"""A web server with files, redirects and git repositories, which remembers what it was asked for."""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

MODIFIED = 1_500_000_000


@dataclass
class Site:
    """What is where: files by path, redirects, statuses, and a folder of bare git repositories under `/git/`.

    `before` is called with each path that is asked for. `has_marks`: it gives an ETag and Last-Modified, and answers 304. `asked` are the requests, `GET /path 200`.
    `without_length`: an answer ends where its connection does.
    """

    repositories: Path
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    without_length: bool = False
    has_marks: bool = True
    heeds_marks: bool = True
    url: str = ""
    before: Callable[[str], None] = lambda path: None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.site.before(path)
        if path.startswith("/git/"):
            self._git()
        elif path in self.site.redirects:
            self._answer(302, b"", {"Location": self.site.redirects[path]})
        elif path in self.site.statuses:
            self._answer(self.site.statuses[path], b"no")
        elif path in self.site.files:
            self._file(path)
        else:
            self._answer(404, b"nothing")

    def do_POST(self) -> None:
        self._git()

    def _file(self, path: str) -> None:
        content = self.site.files[path]
        marks = {}
        if self.site.has_marks:
            etag = f'"{hashlib.sha256(content).hexdigest()[:8]}"'
            marks = {"ETag": etag, "Last-Modified": email.utils.formatdate(MODIFIED, usegmt=True)}
            if self.site.heeds_marks and self.headers.get("If-None-Match") == etag:
                self._answer(304, b"", marks)
                return
        if self.site.cut.get(path, 0) > 0:
            self.site.cut[path] -= 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            self._note(200)
            return
        self._answer(200, content, marks)

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self._note(status)
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if self.site.without_length:
            self.close_connection = True
        elif status != 304:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(content if status != 304 else b"")

    def _note(self, status: int) -> None:
        self.site.asked.append(f"{self.command} {urlsplit(self.path).path} {status}")
        self.site.headers.append(dict(self.headers))

    def _git(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().strip(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.site.repositories),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": parts.path.removeprefix("/git"),
            "QUERY_STRING": parts.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environ, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        self._answer(int(headers.pop("Status", "200 OK").split()[0]), content, headers)


@contextlib.contextmanager
def running_site(repositories: Path) -> Iterator[Site]:
    """A site on 127.0.0.1, up until the context is left."""
    site = Site(repositories)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
