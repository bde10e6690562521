"""YAML as it is read for services.yml and hub.yml: anchors, merge keys, bounds, two parsers."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from hubs.files import parse_all
from mesh.errors import ConfigError
from mesh.names import document
from mesh.names.entries import parse_services
from mesh.names.model import Service
from tests.helpers.named import named
from tests.names.test_entries import RIGHT, WRONG, words

PATH = "/etc/mesh/services.yml"


def said(text: str) -> str:
    """What is wrong with it."""
    with pytest.raises(ConfigError) as caught:
        parse_services(text, PATH)
    return str(caught.value)


# Anchors and merge keys


def test_names_that_begin_with_x_hold_anchors() -> None:
    text = (
        "x-defaults: &slow {timeout: 5, retries: 2}\n"
        "x-hosts: [&one tcp://a:1, &two tcp://b:1]\n"
        "x-anything: {at: [all, {of: it}]}\n"
        "users: {<<: *slow, address: [*one, *two], retries: 0}\n"
        "search: {address: *two}\n"
    )
    assert parse_services(text, PATH) == {
        "users": named("users", ("tcp://a:1", "tcp://b:1"), timeout=5.0, retries=0),
        "search": named("search", ("tcp://b:1",)),
    }
    assert parse_services("x-a: 1", PATH) == {}
    assert said("x-a: 1\nb: tcp://a:1\nx-a: 2") == (
        f"{PATH}:3: x-a: stands twice, in line 1 before: keep one of the two"
    )


def test_the_first_of_a_list_counts_for_more_and_its_own_for_most() -> None:
    text = (
        "x-a: &a {timeout: 1, retries: 1}\n"
        "x-b: &b {timeout: 2, retries: 2, weight: 2}\n"
        "x-c: &c {<<: *b, weight: 3}\n"
        "s: {timeout: 9, <<: [*a, *c], address: tcp://a:1}\n"
    )
    service = parse_services(text, PATH)["s"]
    assert (service.timeout, service.retries, service.endpoints[0].weight) == (9.0, 1, 3)


def test_services_may_be_merged_too() -> None:
    text = "x-shared: &shared {users: tcp://a:1, search: tcp://b:1}\n<<: *shared\nsearch: tcp://c:1\n"
    services = parse_services(text, PATH)
    assert {name: one.addresses for name, one in services.items()} == {
        "search": ("tcp://c:1",),
        "users": ("tcp://a:1",),
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a:\n  <<: tcp://a:1", "2: <<: takes a mapping, or a list of them: write '<<: *NAME'"),
        ("a:\n  <<: [tcp://a:1]", "2: <<: takes a mapping"),
        ("a:\n  <<:", "2: <<: takes a mapping"),
        ("a: &a\n  <<: *a", "2: <<: leads to the mapping that it stands in"),
        ("a: &a\n  b: {<<: *a}", "2: <<: leads to the mapping that it stands in"),
        ("a:\n  <<: {x: 1}\n  <<: {y: 1}", "3: <<: stands twice: write '<<: [*ONE, *OTHER]'"),
        ("x-a: &a\n  hub: 1\n  hub: 2\na: {<<: *a}", "3: hub: stands twice, in line 2 before"),
        ("a: {'<<': {hub: tcp://a:1}}", "1: a.<<: unknown key"),
        ("a:\n  <<: {timeuot: 1}", "2: a.timeuot: unknown key; did you mean 'timeout'?"),
        (
            "a: &x 1\nb: &x 2",
            "2: not valid YAML: found duplicate anchor 'x'; first occurrence (begun in line",
        ),
        ("a: *x", "1: not valid YAML: found undefined alias 'x'"),
        ("a: 1\n---\nb: 1", "2: not valid YAML: expected a single document in the stream (begun in line 1)"),
    ],
)
def test_what_anchors_can_get_wrong(text: str, says: str) -> None:
    assert said(text).startswith(f"{PATH}:{says}")


def test_hubs_have_anchors_and_merge_keys() -> None:
    text = (
        "x-usual: &usual {heartbeat: 1, timeout: 3}\n"
        "hubs:\n"
        "  a: {<<: *usual, in: tcp://*:1, out: tcp://*:2}\n"
        "  b: {<<: *usual, in: tcp://*:3, out: tcp://*:4, timeout: 4}\n"
    )
    one, other = parse_all([("hub.yml", text)])
    assert (one.heartbeat, one.timeout, other.heartbeat, other.timeout) == (1.0, 3.0, 1.0, 4.0)
    (alone,) = parse_all([("hub.yml", "x-a: &a tcp://*:1\nin: *a\nout: tcp://*:2\n")])
    assert alone.in_.bind == ("tcp://*:1",)


# What a text may cost


def bombs() -> dict[str, str]:
    tenfold = "".join(f"x-{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 30))
    merged = "".join(f"x-{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}\n" for n in range(1, 30))
    wide = ", ".join(f"k{n}: 1" for n in range(2_000))
    return {
        "lists of lists": f"x-0: &l0 [a]\n{tenfold}a: *l29\n",
        "lists of lists in use": f"x-0: &l0 ['${{HOME}}']\n{tenfold}a: {{hub: *l29}}\n",
        "merges of merges": f"x-0: &m0 {{a: 1}}\n{merged}a: *m29\n",
        "one large mapping merged again and again": f"x-0: &w {{{wide}}}\n"
        + "".join(f"a{n}: {{<<: *w}}\n" for n in range(2_000)),
    }


@pytest.mark.parametrize("name", bombs())
def test_a_text_that_repeats_itself_is_refused_soon(name: str) -> None:
    began = time.process_time()
    assert said(bombs()[name]).startswith(f"{PATH}:")
    assert time.process_time() - began < 5


def test_more_than_may_be_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "x-a: &a {timeout: 1, retries: 1}\n" + "".join(
        f"s{n}: {{<<: *a, address: tcp://a:1}}\n" for n in range(5)
    )
    assert len(parse_services(text, PATH)) == 5
    monkeypatch.setattr("mesh.names.nodes.MOST_MERGED", 9)
    assert said(text) == f"{PATH}:1: <<: brings more than 9 entries in this file: repeat less"


# Two parsers


@pytest.fixture
def in_python(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Has PyYAML's parser in Python used from now on."""
    return lambda: monkeypatch.setattr(document, "_FAST", None)


def test_the_parser_in_c_is_used_where_there_is_one() -> None:
    assert document._FAST is getattr(yaml, "CSafeLoader", None)


@pytest.mark.parametrize(("text", "service"), RIGHT)
def test_both_parsers_find_the_same_services(
    text: str, service: Service, in_python: Callable[[], None]
) -> None:
    found = parse_services(text, PATH)
    in_python()
    again = parse_services(text, PATH)
    assert found == again
    assert [one.source for one in found.values()] == [one.source for one in again.values()]


@pytest.mark.parametrize("text", [text for text, *_ in WRONG])
def test_both_parsers_say_the_same(text: str, in_python: Callable[[], None]) -> None:
    message = said(text)
    in_python()
    assert said(text) == message


@pytest.mark.parametrize(
    "text",
    ["a: tcp://a:1\t\n", "a: tcp://a:1\n\tb: tcp://a:1", "a:\ttcp://a:1", "a: tcp://a:1 \ufeff", "a: \x07"],
)
def test_a_text_is_right_or_wrong_with_both_parsers(text: str, in_python: Callable[[], None]) -> None:
    message = said(text)
    in_python()
    assert said(text) == message


def outcome(text: str) -> Any:
    """The services; None where something is wrong, of which the two may see different things first."""
    try:
        return [(one, one.source) for one in parse_services(text, PATH).values()]
    except ConfigError:
        return None


@given(st.lists(words, max_size=30).map("".join))
@example("users: 1\r\n\x85users: 2")
def test_any_text_means_the_same_to_both_parsers(text: str) -> None:
    fast = outcome(text)
    kept, document._FAST = document._FAST, None  # type: ignore[misc]
    try:
        assert outcome(text) == fast
    finally:
        document._FAST = kept  # type: ignore[misc]


@pytest.mark.parametrize("collecting", [True, False])
def test_the_collector_is_as_it_was(collecting: bool) -> None:
    if not collecting:
        gc.disable()
    try:
        parse_services("a: tcp://a:1", PATH)
        said("a: nowhere")
        assert gc.isenabled() == collecting
    finally:
        gc.enable()


def test_twenty_thousand_names_take_less_than_the_parser_in_python_alone() -> None:
    text = "".join(f"name{number}: tcp://127.0.0.2:4242\n" for number in range(20_000))
    began = time.process_time()
    yaml.compose(text, yaml.SafeLoader)
    python = time.process_time() - began
    began = time.process_time()
    assert len(parse_services(text, PATH)) == 20_000
    took = time.process_time() - began
    if document._FAST is None:
        pytest.skip("PyYAML is without its parser in C here")
    assert took < python / 2
