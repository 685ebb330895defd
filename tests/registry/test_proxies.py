"""Which proxy a URL is asked through. What NO_PROXY means is Go's word, which docker and podman keep to."""

from __future__ import annotations

import pytest

from pybuild.registry.proxies import proxy_of

PROXY = "http://me:pass@proxy:3128"


@pytest.mark.parametrize(
    ("excluded", "url", "is_asked_directly"),
    [
        ("*", "https://registry.example.com/v2/", True),
        ("example.com", "https://registry.example.com/v2/", True),
        ("example.com", "https://example.com/v2/", True),
        ("example.com", "https://notexample.com/v2/", False),
        (".example.com", "https://registry.example.com/v2/", True),
        (".example.com", "https://example.com/v2/", False),
        ("*.example.com", "https://registry.example.com/v2/", True),
        ("a.b, EXAMPLE.com", "https://registry.Example.com/v2/", True),
        ("example.com:5000", "https://example.com:5000/v2/", True),
        ("example.com:5000", "https://example.com/v2/", False),
        ("example.com:443", "https://example.com/v2/", True),
        ("10.0.0.0/8", "https://10.1.2.3:5000/v2/", True),
        ("10.0.0.0/8", "https://11.1.2.3/v2/", False),
        ("10.1.2.3", "https://10.1.2.3:5000/v2/", True),
        ("2.3", "https://10.1.2.3/v2/", False),
        ("fd00::/8", "https://[fd00::7]:5000/v2/", True),
        ("fd00::7", "https://[fd00::7]/v2/", True),
        ("[fd00::7]:5000", "https://[fd00::7]:5000/v2/", True),
        ("fd00::/8", "https://registry.example.com/v2/", False),
        ("not/a/network,,", "https://registry.example.com/v2/", False),
    ],
)
def test_no_proxy(excluded, url, is_asked_directly):
    assert proxy_of(url, {"https_proxy": PROXY, "NO_PROXY": excluded}) == (None if is_asked_directly else PROXY)


def test_the_variables_in_their_order():
    environ = {"ALL_PROXY": "all:1"}
    assert proxy_of("https://a.b/", environ) == "http://all:1"
    environ["HTTPS_PROXY"] = "https://large:1"
    environ["https_proxy"] = "socks5h://small:1"
    assert proxy_of("https://a.b/", environ) == "socks5h://small:1"
    assert proxy_of("http://a.b/", environ) == "http://all:1"
    assert proxy_of("http://a.b/", {}) is None
