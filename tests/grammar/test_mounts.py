"""RUN --mount and --device: what each key says, what a type may not have, and that a comma in a variable splits nothing."""

from __future__ import annotations

import pytest

from pybuild.grammar import Span, WordError, expand
from pybuild.grammar.mounts import Device, Mount, check_mount, parse_device, parse_mount

SPAN = Span(1, 1, 1, 2)
ENV = {"a": "1,2", "kind": "cache", "empty": ""}


def mount(text: str) -> Mount:
    return parse_mount(text, span=SPAN, expand=lambda value: expand(value, ENV))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/x", Mount("bind", SPAN, target="/x")),
        ("type=bind,from=base,src=/s,dst=/d,rw", Mount("bind", SPAN, "/s", "/d", "base", is_read_only=False)),
        ("TYPE=Cache,ID=k,destination=/d", Mount("cache", SPAN, target="/d", id="k", is_read_only=False)),
        ("type=cache,sharing=LOCKED,readonly", Mount("cache", SPAN, sharing="locked")),
        ("type=cache,mode=0755,uid=1000,gid=0", Mount("cache", SPAN, mode=0o755, uid=1000, gid=0, is_read_only=False)),
        ("type=tmpfs,size=1.5kb", Mount("tmpfs", SPAN, size=1536, is_read_only=False)),
        ("type=tmpfs,size=2 GiB,ro=true", Mount("tmpfs", SPAN, size=2 << 30)),
        ("type=secret,id=k,required", Mount("secret", SPAN, id="k", is_required=True)),
        ("type=secret,id=k,required=0,env=K", Mount("secret", SPAN, id="k", env="K")),
        ("type=secret,target=/t,env=", Mount("secret", SPAN, target="/t", env="")),
        ("type=ssh,required=T", Mount("ssh", SPAN, is_required=True)),
        ("ro=false,rw=false", Mount("bind", SPAN)),
        ("type=bind,type=cache", Mount("cache", SPAN, is_read_only=False)),
        ("type=$kind,id=$a", Mount("cache", SPAN, id="1,2", is_read_only=False)),
        ('"source=a,b","target=""q"""', Mount("bind", SPAN, "a,b", "q")),
        ("target='x'", Mount("bind", SPAN, target="x")),
    ],
)
def test_what_the_keys_say(text, expected):
    assert mount(text) == expected


def test_without_an_expansion_the_values_are_as_they_are_written():
    assert parse_mount("target=$a", span=SPAN).target == "$a"


@pytest.mark.parametrize(
    ("text", "message", "hint", "marked"),
    [
        ("", "nothing behind the equals sign", "write type=TYPE,target=PATH", ""),
        ("type=bind,targt=/x", "a mount has no key 'targt'", "did you mean target?", "targt=/x"),
        ("type=bnd", "no such type of mount: 'bnd'", "did you mean bind?", "type=bnd"),
        ("type=$empty", "no such type of mount: ''", "there are bind, cache, tmpfs, secret, ssh", "type=$empty"),
        ("target", "'target' has no value", "write target=VALUE", "target"),
        ("type=cache,", "'' has no value", "write KEY=VALUE", ""),
        ("ro=maybe", "ro is true or false, not 'maybe'", "write ro, or ro=false", "ro=maybe"),
        ("required,type=secret", "a bind mount has no key required", "type=secret and type=ssh have it, before it", "required"),
        ("type=bind,size=1", "a bind mount has no size", "type=tmpfs has one, before it", "size=1"),
        ("type=tmpfs,size=1x", "not a size: '1x'", "write it as 64m, 1g or a number of bytes", "size=1x"),
        ("type=cache,sharing=all", "no such sharing: 'all'", "there are shared, private, locked", "sharing=all"),
        ("type=cache,mode=789", "not a mode: '789'", "write it in octal, such as 0755", "mode=789"),
        ("type=cache,uid=4294967296", "not a uid: '4294967296'", "write a number, such as uid=1000", "uid=4294967296"),
        ("mode=0755", "a bind mount has no mode", "type=cache, secret and ssh have it", "mode=0755"),
        ("type=secret", "a secret mount without an id", "write id=NAME", "type=secret"),
        ("type=ssh,sharing=locked", "a ssh mount has no sharing", "type=cache has it", "type=ssh,sharing=locked"),
        ('target=a"b"', "a double quote inside a field", "a field is in double quotes as a whole, or has none", '"b"'),
        ('"target=a', "a double quote without its end", "close it", '"target=a'),
        ('"target=a"b,ro', "text behind the double quote", "a comma ends a field", "b,ro"),
    ],
)
def test_errors_mark_the_field(text, message, hint, marked):
    with pytest.raises(WordError) as caught:
        mount(text)
    error = caught.value
    assert (error.message, error.hint) == (message, hint)
    assert text[error.span.column - 1 : error.span.end_column - 1] == marked


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=secret,from=x,id=y", "a secret mount has no from"),
        ("type=secret,source=x,id=y", "a secret mount with a source and an id"),
        ("type=secret,id=y,sharing=shared", "a secret mount has no sharing"),
    ],
)
def test_what_a_secret_may_not_have(text, message):
    with pytest.raises(WordError, match=message):
        mount(text)


@pytest.mark.parametrize("text", ["from=$x", "type=cache,FROM=a${b}"])
def test_from_is_not_expanded(text):
    with pytest.raises(WordError, match="from is not expanded"):
        check_mount(text)


@pytest.mark.parametrize("text", ["from=a$", "nonsense", "type=$x,target=${y}", "targt=/x"])
def test_what_has_to_wait_for_the_variables_is_not_checked_before(text):
    check_mount(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vendor.com/class=name", Device("vendor.com/class=name", False)),
        ("name=vendor.com/class=name,required", Device("vendor.com/class=name", True)),
        ("vendor.com/class,Required=false", Device("vendor.com/class", False)),
        ("required", Device("", True)),
    ],
)
def test_devices(text, expected):
    assert parse_device(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,name=b", "the device has a name already: a"),
        ("a,b", "'b' has no value"),
        ("a,requird=true", "a device has no key 'requird'"),
        ("a,required=2", "required is true or false, not '2'"),
    ],
)
def test_wrong_devices(text, message):
    with pytest.raises(WordError) as caught:
        parse_device(text)
    assert caught.value.message == message and caught.value.hint
