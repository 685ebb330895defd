"""A way to a registry that drops, delays, truncates, corrupts, repeats and mis-answers, by a script; and scripts by chance.

A script says for each request, by its number, what happens to it; requests behind its end pass. What the client asks and what the
registry answers is otherwise left as it is, so that the registry behind it sees what a bad network makes of a client.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import random
import threading
import time
from dataclasses import dataclass, field

from real.threads import serving

KINDS = (
    "drop",  # closed before the registry hears of it
    "lose",  # the registry answers, the client hears nothing
    "break",  # the registry gets a part of the body, then both ends are closed
    "cut",  # a part of the answer's body, then closed
    "short",  # a part of the answer's body, with a length that says it is all
    "corrupt",  # a byte of the answer's body is another
    "spoil",  # a byte of the request's body is another
    "repeat",  # the registry hears it twice, the client the second answer
    "refuse",  # another status, the registry hears nothing
    "belie",  # another status, though the registry has done it
    "delay",  # a little late
    "garble",  # bytes that are no HTTP
    "strip",  # headers that matter are missing in the answer
    "mislead",  # headers that matter say something else
)
_STATUSES = (200, 202, 204, 400, 404, 408, 413, 416, 418, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Fault:
    """What happens to one request; `place` is a part of a body, from 0 to 1."""

    kind: str
    place: float = 0.5
    status: int = 500


def by_chance(seed):
    """A script: mostly short, now and then a network that hardly works at all."""
    chance = random.Random(seed)
    density = chance.choice((0.05, 0.15, 0.3, 0.6))
    length = chance.choice((8, 20, 60))
    return {
        number: Fault(chance.choice(KINDS), chance.random(), chance.choice(_STATUSES))
        for number in range(length)
        if chance.random() < density
    }


@dataclass
class BadWay:
    """The way's address, its script, and what has happened."""

    host: str = ""
    script: dict = field(default_factory=dict)
    seen: list = field(default_factory=list)
    mutex: threading.Lock = field(default_factory=threading.Lock)

    def follow(self, script):
        """Begin a script at the next request."""
        with self.mutex:
            self.script, self.seen = script, []

    def next_fault(self, request):
        with self.mutex:
            fault = self.script.get(len(self.seen))
            self.seen.append(f"{request} {fault.kind if fault else ''}")
            return fault

    def has_spoiled(self):
        """Whether the registry was sent other bytes than the client meant."""
        return any(line.endswith((" spoil", " break")) for line in self.seen)


def _flipped(content, place):
    where = min(int(len(content) * place), len(content) - 1)
    return content[:where] + bytes([content[where] ^ 4]) + content[where + 1 :]


@contextlib.contextmanager
def bad_way(target):
    """The way to the registry at `target`."""
    way = BadWay()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def respond(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = way.next_fault(f"{self.command} {self.path.partition('?')[0]}")
            kind = fault.kind if fault else ""
            if kind == "drop":
                return self.hang_up()
            if kind == "delay":
                time.sleep(0.02)
            if kind == "refuse":
                return self.answer(fault.status, {}, b"<html>no</html>")
            if kind == "garble":
                self.wfile.write(b"\x16\x03\x01 what?\r\n\r\n")
                return self.hang_up()
            if kind == "spoil" and body:
                body = _flipped(body, fault.place)
            if kind == "break" and body:
                self.ask(body[: int(len(body) * fault.place)], length=len(body))
                return self.hang_up()
            status, headers, content = self.ask(body)
            if kind == "repeat":
                status, headers, content = self.ask(body)
            if kind == "lose":
                return self.hang_up()
            if kind == "belie":
                return self.answer(fault.status, {}, b"{}")
            if kind == "corrupt" and content:
                content = _flipped(content, fault.place)
            if kind in ("strip", "mislead"):
                for name in ("Docker-Content-Digest", "Content-Range", "Range", "Content-Type", "Location"):
                    if name in headers:
                        headers.pop(name) if kind == "strip" else headers.update({name: headers[name][::-1]})
            if kind == "short":
                content = content[: int(len(content) * fault.place)]
            return self.answer(status, headers, content, cut=int(len(content) * fault.place) if kind == "cut" else None)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = respond

        def hang_up(self):
            self.close_connection = True

        def ask(self, body, length=None):
            """What the registry says."""
            there = http.client.HTTPConnection(target, timeout=10)
            try:
                there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                        there.putheader(name, value)
                there.putheader("Content-Length", str(len(body) if length is None else length))
                there.endheaders(body)
                if length is not None:
                    return None
                answer = there.getresponse()
                headers = {
                    name: value for name, value in answer.getheaders() if name.lower() not in ("connection", "transfer-encoding")
                }
                return answer.status, headers, answer.read()
            finally:
                there.close()

        def answer(self, status, headers, content, cut=None):
            self.send_response(status)
            if self.command != "HEAD" or "Content-Length" not in headers:
                headers = {name: value for name, value in headers.items() if name != "Content-Length"}
                headers["Content-Length"] = str(len(content))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[:cut])
            if cut is not None:
                self.hang_up()

        def log_message(self, *_):
            pass

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        way.host = f"127.0.0.1:{port}"
        yield way
