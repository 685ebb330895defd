"""An HTTP proxy of the tests' own: plain requests are passed on, CONNECT is a tunnel; it remembers what it was asked for."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import select
import socket
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
