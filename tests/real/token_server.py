"""A token server of the tests' own: what stands behind `WWW-Authenticate: Bearer`. Source: distribution, auth/token, auth/jwt."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import subprocess
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

from real.threads import serving


@dataclass
class TokenServer:
    """Signs what it is asked for, if the user may have it. `grants` maps users to the repositories that they may push to."""

    certificate: Path
    url: str = ""
    asked: list = field(default_factory=list)
    users: dict = field(default_factory=lambda: {"user": "secret"})

    def token(self, scopes, user):
        access = []
        for text in scopes:
            kind, name, actions = text.split(":")
            allowed = [action for action in actions.split(",") if user or (action == "pull" and name.startswith("public/"))]
            access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        der = subprocess.run(
            ["openssl", "x509", "-in", self.certificate / "cert.pem", "-outform", "DER"], check=True, capture_output=True
        ).stdout
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        claims = {
            "iss": "tests", "sub": user, "aud": "registry", "exp": now + 300, "nbf": now - 60, "iat": now,
            "jti": os.urandom(8).hex(),
            "access": access,
        }  # fmt: skip
        signed = b".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self.certificate / "key.pem")],
            input=signed,
            check=True,
            capture_output=True,
        ).stdout
        return (signed + b"." + _base64(signature)).decode()


def _base64(content):
    return base64.urlsafe_b64encode(content).rstrip(b"=")


@contextlib.contextmanager
def token_server(certificate):
    """The server, listening on `url`."""
    tokens = TokenServer(certificate)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            user, given = "", self.headers.get("Authorization", "")
            if given:
                user, _, password = base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")
                if tokens.users.get(user) != password:
                    return self.answer(401, {"details": "wrong password"})
            tokens.asked.append(query)
            return self.answer(200, {"token": tokens.token(query.get("scope", []), user)})

        def answer(self, status, document):
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        tokens.url = f"http://127.0.0.1:{port}/token"
        yield tokens
