"""No secret in a message: known ones are masked wherever they stand, and what looks like one is too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybuild.registry.credentials import Credentials
from pybuild.registry.errors import RegistryError, UnexpectedAnswer
from pybuild.registry.redaction import redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("proxy http://me:pass@proxy:3128 refused", "proxy http://***@proxy:3128 refused"),
        ("GET https://s3/x?X-Amz-Signature=abc123&y=1 failed", "GET https://s3/x?X-Amz-Signature=***&y=1 failed"),
        ("/v2/a/blobs/uploads/1?_state=SGVsbG8&digest=sha256:1", "/v2/a/blobs/uploads/1?_state=***&digest=sha256:1"),
        ("sent Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.x.y", "sent Authorization: Bearer ***"),
        ("sent Authorization: Basic dTpwYXNzd29yZA==", "sent Authorization: Basic ***"),
        ("127.0.0.1:5000/app@sha256:0123 is not there", "127.0.0.1:5000/app@sha256:0123 is not there"),
        ("a basic mistake in the bearer of news", "a basic mistake in the bearer of news"),
        ("see https://example.com/a?tag=v1", "see https://example.com/a?tag=v1"),
    ],
)
def test_what_looks_secret_is_cut_out(text, shown):
    assert redacted(text) == shown


def test_a_registry_that_repeats_a_password_is_not_quoted():
    Credentials("me", "correct-horse-battery")
    Credentials("", "", "an-identity-token")
    error = UnexpectedAnswer(
        "app: r.io answered 400: bad password correct-horse-battery (bWU6Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5)",
        url="https://r.io",
        status=400,
        hint="an-identity-token was sent",
    )
    assert str(error) == error.message == "app: r.io answered 400: bad password *** (***)"
    assert error.hint == "*** was sent"


@given(st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=6), st.text(), st.text())
def test_a_registered_secret_is_in_no_error(secret, before, behind):
    Credentials("", "", secret)
    assert secret not in str(RegistryError(before + secret + behind)) or secret in "***"
