"""The ports that a word of EXPOSE means. Pure.

What is written before the container's port, `[IP:]HOSTPORT:`, is read and has no effect. Source: BuildKit, convert_expose.go.
"""

from __future__ import annotations

import ipaddress

PROTOCOLS = ("tcp", "udp", "sctp")
_HIGHEST = 65535


def exposed(text: str) -> list[str]:
    """The ports that one word of EXPOSE means, each as `80/tcp`. Raises ValueError."""
    address, host, container = _split(text)
    numbers, _, protocol = container.partition("/")
    if protocol and protocol.lower() not in PROTOCOLS:
        raise ValueError(f"no such protocol: {protocol.lower()!r}")
    _check_address(address)
    first, last = _range(numbers, text)
    if host:
        host_first, host_last = _range(host, text)
        if first != last and last - first != host_last - host_first:
            raise ValueError(f"two ranges of different length: {text!r}")
    return [f"{port}/{protocol.lower() or 'tcp'}" for port in range(first, last + 1)]


def _split(text: str) -> tuple[str, str, str]:
    head, _, container = text.rpartition(":")
    address, _, host = head.rpartition(":")
    return address, host, container


def _check_address(text: str) -> None:
    if not text:
        return
    try:
        ipaddress.ip_address(text[1:-1] if text.startswith("[") and text.endswith("]") else text)
    except ValueError:
        raise ValueError(f"not an IP address: {text!r}") from None


def _range(text: str, whole: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not all(_is_port(number) for number in ((first, last) if dash else (first,))):
        raise ValueError(f"not a range of ports: {whole!r}" if dash and first and last else f"not a port: {whole!r}")
    low, high = int(first), int(last or first)
    if low > high:
        raise ValueError(f"not a range of ports: {whole!r}")
    return low, high


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _HIGHEST
