"""Keeping secrets out of messages: every error passes through here before anybody reads it.

What is known to be secret (passwords, tokens) is registered when it is read; what looks like a secret inside a URL or a
header is cut out wherever it stands. Holds no file and does no I/O.
"""

from __future__ import annotations

MASK = "***"
# A shorter text would mask words of every message, and is no secret that masking could keep.
_SHORTEST = 6
_QUERY = r"(?i)([?&](?:[\w-]*(?:sig|signature|token|credential|password|secret|_state)))=[^&\s'\"]+"

_known: set[str] = set()


def keep_secret(*texts: str | None) -> None:
    """Never show these texts again."""
    _known.update(text for text in texts if text and len(text) >= _SHORTEST)


def redacted(text: str) -> str:
    """The text without anything secret: registered texts, user:password in URLs, signatures in queries, header values."""
    for secret in sorted(_known, key=len, reverse=True):
        if secret in text:
            text = text.replace(secret, MASK)
    if "://" in text or "=" in text or "asic " in text or "earer " in text:
        # Imported here: errors are defined on the way of a build that changes nothing, and made on none of it.
        import re

        text = re.sub(r"(\w+://)[^/\s@'\"]+@", rf"\1{MASK}@", text)
        text = re.sub(_QUERY, rf"\1={MASK}", text)
        text = re.sub(r"\b([Bb]asic|[Bb]earer) [A-Za-z0-9._~+/-]{8,}=*", rf"\1 {MASK}", text)
    return text
