"""An HTTP proxy of the tests' own: plain requests are passed on, CONNECT is a tunnel; it remembers what it was asked for."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import select
import socket
import socketserver
import threading
import time
import urllib.parse
from dataclasses import dataclass, field

from real.threads import serving


@dataclass
class WebProxy:
    """`asked` holds `METHOD target` of each request, `authorizations` what came as Proxy-Authorization."""

    url: str = ""
    asked: list = field(default_factory=list)
    authorizations: list = field(default_factory=list)


@contextlib.contextmanager
def web_proxy():
    """The proxy, listening at `url`."""
    proxy = WebProxy()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def note(self):
            proxy.asked.append(f"{self.command} {self.path}")
            proxy.authorizations.append(self.headers.get("Proxy-Authorization"))

        def do_CONNECT(self):
            self.note()
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host, int(port))) as there:
                self.send_response(200)
                self.end_headers()
                ends = {self.connection: there, there: self.connection}
                while True:
                    for source in select.select(list(ends), [], [])[0]:
                        content = source.recv(1 << 16)
                        if not content:
                            self.close_connection = True
                            return
                        ends[source].sendall(content)

        def pass_on(self):
            self.note()
            parts = urllib.parse.urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            there = http.client.HTTPConnection(parts.netloc)
            headers = {name: value for name, value in self.headers.items() if not name.startswith("Proxy-")}
            there.request(self.command, parts.path + (f"?{parts.query}" if parts.query else ""), body, headers)
            answer = there.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name not in ("Content-Length", "Transfer-Encoding", "Connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            there.close()

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

        def log_message(self, *_):
            pass

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        proxy.url = f"http://127.0.0.1:{port}"
        yield proxy


class Trickle:
    """A way to a server that lets `most` bytes through to it, and holds the rest until it is told otherwise.

    With a `rate`, bytes a second, it is slow from its first byte on.
    """

    def __init__(self, target, most, rate):
        self.target = target
        self.most = most
        self.rate = rate
        self.sent = 0
        self.host = ""
        self.is_full = threading.Event()
        self.is_open = threading.Event()

    def let_through(self):
        """Hold nothing any more."""
        self.is_open.set()


@contextlib.contextmanager
def trickling_proxy(target, *, most=1 << 60, rate=None):
    """The way, at `host`."""
    trickle = Trickle(target, most, rate)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, int(port))) as there:
                back = threading.Thread(target=self.copy, args=(there, self.request, False), daemon=True)
                back.start()
                self.copy(self.request, there, True)
                back.join()

        def copy(self, source, sink, is_counted):
            with contextlib.suppress(OSError):
                while content := source.recv(1 << 16):
                    if is_counted:
                        trickle.sent += len(content)
                        if trickle.rate is not None:
                            time.sleep(len(content) / trickle.rate)
                        if trickle.sent >= trickle.most and not trickle.is_open.is_set():
                            trickle.is_full.set()
                            # The client may be gone meanwhile: what it has sent goes no further.
                            trickle.is_open.wait(60)
                            break
                    sink.sendall(content)
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True

    with serving(Server(("127.0.0.1", 0), Handler)) as port:
        trickle.host = f"127.0.0.1:{port}"
        yield trickle
        trickle.let_through()
