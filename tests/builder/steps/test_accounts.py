"""USER and --chown mean what the image's own passwd and group say."""

import pytest

from pybuild.builder.errors import BuildError
from pybuild.builder.steps.accounts import Account, resolve_owner, resolve_user

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:100::/home/user:/bin/sh\n# no entry\nbroken\n1234:x:7:8::/n:/bin/sh\n"
GROUP = b"root:x:0:\nusers:x:100:\nextra:x:200:other,user\nothers:x:250:superuser,users\nlast:x:300:user\n"


@pytest.mark.parametrize(
    ("text", "account"),
    [
        ("", Account(0, 0, (), "/root", "root")),
        ("root", Account(0, 0, (), "/root", "root")),
        ("user", Account(1000, 100, (200, 300), "/home/user", "user")),
        ("1000", Account(1000, 100, (200, 300), "/home/user", "user")),
        ("user:extra", Account(1000, 200, (), "/home/user", "user")),
        ("user:9", Account(1000, 9, (), "/home/user", "user")),
        ("4242", Account(4242, 0, (), "/", "")),
        ("4242:last", Account(4242, 300, (), "/", "")),
        ("1234", Account(7, 8, (), "/n", "1234")),
    ],
)
def test_users(text, account):
    assert resolve_user(text, PASSWD, GROUP) == account


def test_without_a_passwd_file_root_is_root():
    assert resolve_user("", None, None) == Account(0, 0, (), "/", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nobody", "no user 'nobody'"),
        ("user:none", "no group 'none'"),
        ("99999999999", "not a user or group id"),
        ("1" * 5000, "not a user or group id"),
    ],
)
def test_unknown_users_are_named(text, message):
    with pytest.raises(BuildError, match=message):
        resolve_user(text, PASSWD, GROUP)


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("user", (1000, 100)),
        ("user:root", (1000, 0)),
        ("5", (5, 5)),
        ("5:6", (5, 6)),
        ("root:last", (0, 300)),
        (":last", (0, 300)),
    ],
)
def test_owners(text, owner):
    assert resolve_owner(text, PASSWD, GROUP) == owner


@pytest.mark.parametrize("text", ["who", "root:who", "0:99999999999"])
def test_unknown_owners_are_named(text):
    with pytest.raises(BuildError):
        resolve_owner(text, PASSWD, GROUP)
