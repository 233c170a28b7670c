"""The registry: what it says holds, and what it says wrongly is named by its place."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from zproxy.broker.access import permits_pack
from zproxy.errors import SettingError
from zproxy.security.keys import new_pair, text_of
from zproxy.security.registry import FILE_NAME, PATTERNS_MAX, Registry, editing, load

ONE, OTHER, THIRD = (text_of(new_pair().public) for _ in range(3))


def read(folder: Path, text: str) -> Registry:
    (folder / FILE_NAME).write_text(text)
    return load(folder)


def test_groups_unite_what_is_allowed_and_the_strictest_limit_holds(tmp_path: Path) -> None:
    registry = read(
        tmp_path,
        f"""
        [nodes."rack4/rank7"]
        keys = ["{ONE}", "{OTHER}"]
        groups = ["slow", "wide"]
        allow = ["own"]
        comment = "of two groups"
        [groups.slow]
        allow = ["progress", "gradients/*"]
        rate = 10
        max_message = "1MiB"
        [groups.wide]
        allow = ["progress", "raw"]
        rate = 500.5
        rate_bytes = "2KiB"
        in_flight = 4
        """,
    )
    identity = registry.identities["rack4/rank7"]
    assert identity.permit.allow == ("own", "progress", "gradients/*", "raw")
    assert identity.permit.serve == ()
    assert identity.permit[2:] == (10, 2048, 4, 1 << 20)
    assert (identity.role, identity.comment, len(identity.keys)) == ("node", "of two groups", 2)
    assert [registry.find(key) for key in identity.keys] == [identity, identity]
    assert registry.find(bytes(32)) is None


def test_who_is_in_no_group_may_do_nothing(tmp_path: Path) -> None:
    registry = read(tmp_path, f'[nodes.a]\nkeys = ["{ONE}"]\n')
    assert registry.identities["a"].permit == ((), (), 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("written", "ends"),
    [
        ("2027-01-31", datetime(2027, 2, 1, tzinfo=timezone.utc)),
        ("2027-01-31T12:00:00", datetime(2027, 1, 31, 12, tzinfo=timezone.utc)),
        ("2027-01-31T12:00:00+02:00", datetime(2027, 1, 31, 10, tzinfo=timezone.utc)),
    ],
)
def test_a_key_ends_when_its_day_does_or_at_its_moment(tmp_path: Path, written: str, ends: datetime) -> None:
    identity = read(tmp_path, f'[nodes.a]\nkeys = ["{ONE}"]\nnot_after = {written}\n').identities["a"]
    assert identity.not_after == ends
    assert identity.has_expired(ends)
    assert not identity.has_expired(ends.replace(year=2026))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nodes = 1", "nodes: it is no table"),
        ("[nodes]\na = 1", "nodes.a: it is no table"),
        ("[nodes.a]\nkey = []", "nodes.a.key: there is no such field"),
        ("[node.a]", "node: there is no such field: write nodes or groups"),
        ('[nodes."a b"]', "'a b' names no node or master"),
        ("[nodes.a]\nkeys = 1", "nodes.a.keys: it is no list"),
        ('[nodes.a]\nkeys = ["abc"]', "nodes.a.keys[0]: it is no key"),
        (f'[nodes.a]\nkeys = ["{ONE}", "{OTHER}", "{THIRD}"]', "nodes.a.keys: it has 3 keys, and 2 at most"),
        (f'[nodes.a]\nkeys = ["{ONE}"]\n[nodes.b]\nkeys = ["{ONE}"]', "nodes.b.keys: it has a key that nodes.a has"),
        ('[nodes.a]\nrole = "king"', "nodes.a.role: 'king' is no role"),
        ('[nodes.a]\ngroups = ["g"]', "nodes.a.groups: there is no group 'g'"),
        ("[nodes.a]\nnot_after = 1", "nodes.a.not_after: 1 is no date"),
        ("[nodes.a]\nnot_after = 9999-12-31", "nodes.a.not_after: 9999-12-31 has no day after it"),
        ("[nodes.a]\ncomment = 1", "nodes.a.comment: it is no text"),
        ('[groups.g]\nallow = ["a*b"]', "groups.g.allow: 'a*b' names no services"),
        ('[groups.g]\nallow = [""]', "groups.g.allow: '' names no services"),
        ('[groups.g]\nserve = "x"', "groups.g.serve: it is no list"),
        ("[groups.g]\nrate = -1", "groups.g.rate: -1 is no such number"),
        ("[groups.g]\nrate = true", "groups.g.rate: True is no such number"),
        ("[groups.g]\nrate = nan", "groups.g.rate: nan is no such number"),
        ("[groups.g]\nin_flight = 1.5", "groups.g.in_flight: 1.5 is no such number"),
        ("[groups.g]\nin_flight = 4294967296", "groups.g.in_flight: 4294967296 is no such number"),
        ("[groups.g]\nin_flight = inf", "groups.g.in_flight: inf is no such number"),
        ("[groups.g]\nrate = 1e13", "groups.g.rate: 10000000000000.0 is no such number"),
        ('[groups.g]\nrate_bytes = "2TiB"', "groups.g.rate_bytes: '2TiB' is too large"),
        ('[groups.g]\nmax_message = "1025TiB"', "groups.g.max_message: '1025TiB' is too large"),
        ('[groups.g]\nrate_bytes = "fast"', "groups.g.rate_bytes: 'fast' is no size"),
        ("[groups.g]\nallowed = []", "groups.g.allowed: there is no such field"),
        ('[nodes.a]\n"b\\n" = 1', r"nodes.a.'b\n': there is no such field"),
        ('["\u202e"]', r"'\u202e': there is no such field"),
        ('[nodes.a]\ngroups = ["b\\u202e"]', r"add [groups.'b\u202e']"),
        ("[nodes.a", "at the end of a table declaration"),
        ("[nodes.a]\nkeys = 1 1", "line 2"),
    ],
)
def test_a_mistake_is_named_by_file_and_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / FILE_NAME}: ")
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_the_largest_limits_fit_a_permit(tmp_path: Path) -> None:
    limits = 'rate = 1e12\nrate_bytes = 1000000000000\nin_flight = 4294967295\nmax_message = "1024TiB"\n'
    registry = read(tmp_path, f'[groups.g]\n{limits}[nodes.a]\ngroups = ["g"]\n')
    assert permits_pack([registry.identities["a"].permit])


def test_more_patterns_than_anybody_needs_are_refused(tmp_path: Path) -> None:
    allow = ", ".join(f'"service{number}"' for number in range(PATTERNS_MAX))
    assert read(tmp_path, f"[nodes.a]\nallow = [{allow}]\n").identities["a"].permit.allow
    with pytest.raises(SettingError, match="nodes.a: it has 4097 patterns, and 4096 at most"):
        read(tmp_path, f'[nodes.a]\nallow = [{allow}]\ngroups = ["g"]\n[groups.g]\nallow = ["*"]\n')


def test_no_registry_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="zproxy keys init"):
        load(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"\xff")
    with pytest.raises(SettingError, match="not UTF-8"):
        load(tmp_path)


def test_editing_keeps_comments_and_order(tmp_path: Path) -> None:
    read(tmp_path, '# ours\n[groups.g]  # the only one\nallow = ["a"]\n\n[nodes.b]\n[nodes.a]\n')
    with editing(tmp_path) as document:
        document["nodes"]["b"]["comment"] = "new"
    text = (tmp_path / FILE_NAME).read_text()
    assert text.startswith('# ours\n[groups.g]  # the only one\nallow = ["a"]\n')
    assert text.index("[nodes.b]") < text.index("[nodes.a]")
    assert load(tmp_path).identities["b"].comment == "new"


def test_an_edit_that_would_be_wrong_changes_nothing(tmp_path: Path) -> None:
    read(tmp_path, "[nodes.a]\n")
    before = (tmp_path / FILE_NAME).read_text()
    with pytest.raises(SettingError, match="is no role"), editing(tmp_path) as document:
        document["nodes"]["a"]["role"] = "king"
    assert (tmp_path / FILE_NAME).read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
