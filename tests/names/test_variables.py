"""`${NAME}` in services.yml and hub.yml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hubs.files import parse_all
from mesh.errors import ConfigError
from mesh.names.catalog import Catalog
from mesh.names.entries import parse_services
from mesh.names.model import Found
from mesh.names.variables import MOST_CHARS, expand

PATH = "/etc/mesh/services.yml"
VARIABLES = {
    "HOST": "10.0.0.5",
    "PORT": "4242",
    "EMPTY": "",
    "T": "2.5",
    "N": "3",
    "LIST": "[tcp://a:1, tcp://b:1]",
    "LINES": "tcp://a:1\nother: tcp://b:1",
    "AGAIN": "${HOST}",
    "KEY": "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("tcp://${HOST}:${PORT}", "tcp://10.0.0.5:4242"),
        ("${HOST}${HOST}", "10.0.0.510.0.0.5"),
        ("${NONE:-x}", "x"),
        ("${NONE:-}", ""),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY}", ""),
        ("${HOST:-x}", "10.0.0.5"),
        ("${NONE:-tcp://a:1 :-$HOST}", "tcp://a:1 :-$HOST"),
        ("${AGAIN}", "${HOST}"),
        ("$HOST $ $$ {HOST} }", "$HOST $ $$ {HOST} }"),
        ("$${HOST}", "${HOST}"),
        ("$$${HOST}", "$${HOST}"),
        ("$${${HOST}}", "${10.0.0.5}"),
        ("", ""),
    ],
)
def test_what_becomes_of_a_text(text: str, value: str) -> None:
    assert expand(text, VARIABLES)[0] == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("${NONE}", "the variable NONE is not set: set it, or write ${NONE:-DEFAULT}"),
        ("${HOST", "'${' has no '}' that ends it: write ${NAME} or ${NAME:-DEFAULT}, or $${ for '${'"),
        ("${", "has no '}' that ends it"),
        ("${HOST:-x", "has no '}' that ends it"),
        ("${NONE:-${HOST}}", "a variable stands within another"),
        ("${A${HOST}}", "a variable stands within another"),
        ("${}", "is no variable: write ${NAME}"),
        ("${HOST-x}", "is no variable"),
        ("${HOST:?x}", "is no variable"),
        ("${1}", "is no variable"),
        ("${A B}", "is no variable"),
        ("${Ä}", "is no variable"),
    ],
)
def test_what_is_no_variable(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        expand(f"secret{text}", VARIABLES)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value), "the rest may be a key"


def test_a_text_does_not_grow_without_an_end() -> None:
    with pytest.raises(ValueError, match="has over 65536 characters with its variables put in"):
        expand("${BIG}" * 1000, {"BIG": "x" * (MOST_CHARS // 10)})


@pytest.mark.parametrize(
    ("entry", "field", "value"),
    [
        ("tcp://${HOST}:${PORT}", "addresses", ("tcp://10.0.0.5:4242",)),
        ("'tcp://${HOST}:4242'", "addresses", ("tcp://10.0.0.5:4242",)),
        ('"tcp://${HOST}:4242"', "addresses", ("tcp://10.0.0.5:4242",)),
        (">-\n  tcp://${HOST}:4242", "addresses", ("tcp://10.0.0.5:4242",)),
        ("\n- tcp://${HOST}:1\n- tcp://${NONE:-b}:2", "addresses", ("tcp://10.0.0.5:1", "tcp://b:2")),
        ("\n  address: tcp://a:1\n  timeout: ${T}", "timeout", 2.5),
        ("\n  address: tcp://a:1\n  timeout: ${NONE:-.5}", "timeout", 0.5),
        ("\n  address: tcp://a:1\n  retries: ${N}", "retries", 3),
        ("{address: tcp://a:1, weight: '${N}'}", "weight", 3),
        ("{address: tcp://a:1, key: '${KEY}'}", "key", VARIABLES["KEY"]),
        ("\n  address: tcp://a:1\n  type: ${NONE:-pub}", "type", "pub"),
    ],
)
def test_in_an_entry(entry: str, field: str, value: Any) -> None:
    service = parse_services(f"a: {entry}", PATH, VARIABLES)["a"]
    has_it = service if hasattr(service, field) else service.endpoints[0]
    assert getattr(has_it, field) == value


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ("a: tcp://x:1\nb: tcp://${NONE}:1", 2, "b", "the variable NONE is not set"),
        ("a:\n- tcp://x:1\n- tcp://${NONE}:1", 3, "a", "the variable NONE is not set"),
        ("a:\n  address: tcp://x:1\n  timeout: ${NONE}", 3, "a.timeout", "the variable NONE is not set"),
        ("a:\n  address: tcp://x:1\n  key: ${KEY", 3, "a.key", "'${' has no '}' that ends it"),
        ("a: tcp://${EMPTY}:1", 1, "a", "has no host: write tcp://HOST:PORT (with EMPTY from the envir"),
        ("a: ${EMPTY}", 1, "a", "not nothing (with EMPTY from the environment)"),
        ("a: ${LIST}", 1, "a", "'[tcp://a:1, tcp://b:1]' has"),
        ("a: ${LINES}", 1, "a", "'tcp://a:1\\nother: tcp://b:1' has a space at an end or an unprintable"),
        ("a: ${AGAIN}", 1, "a", "'${HOST}' is no endpoint"),
        ("${HOST}: tcp://x:1", 1, "", "'${HOST}' cannot name a service"),
        ("a: {address: tcp://${HOST}:1}", 1, "", "a value with ${…} that stands in braces or brackets"),
        (
            "a:\n  address: tcp://x:1\n  timeout: ${HOST}",
            3,
            "a.timeout",
            "the text '10.0.0.5' (with HOST",
        ),
    ],
)
def test_what_is_wrong_says_where(text: str, line: int, key: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_services(text, PATH, VARIABLES)
    assert str(caught.value).startswith(f"{PATH}:{line}: {key + ': ' if key else ''}")
    assert says in str(caught.value)


def test_a_value_is_put_in_once_however_often_it_is_used() -> None:
    """Else what a variable holds would be looked at for variables at its second use."""
    text = "x-a: &a ${WHERE}\nu: &u [*a]\nv: *u\nw: *a"
    with pytest.raises(ConfigError, match=r"'\$\{HOST\}' is no endpoint"):
        parse_services(text, PATH, {"WHERE": "${HOST}", "HOST": "tcp://h:1"})


def test_what_only_anchors_hold_needs_no_variable() -> None:
    services = parse_services("x-spare: &s {timeout: '${NONE}'}\na: tcp://a:1", PATH, {})
    assert list(services) == ["a"]
    with pytest.raises(ConfigError, match=f"^{PATH}:1: a.timeout: the variable NONE is not set"):
        parse_services("x-spare: &s {timeout: '${NONE}'}\na: {<<: *s, address: tcp://a:1}", PATH, {})


def test_the_environment_counts_when_the_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "services.yml"
    path.write_text("users: tcp://${USERS_HOST}:1")
    catalog = Catalog(path)
    monkeypatch.setenv("USERS_HOST", "one")
    assert catalog.services()[0].addresses == ("tcp://one:1",)
    monkeypatch.setenv("USERS_HOST", "two")
    path.write_text("users: tcp://${USERS_HOST}:22")
    assert catalog.refresh(1.0)
    answer = catalog.lookup("users")
    assert isinstance(answer, Found)
    assert answer.service.addresses == ("tcp://two:22",)


def test_in_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "x-limits: &limits {queue: '${QUEUE}', drain: '${NONE:-0}'}\n"
        "hubs:\n"
        "  jobs:\n"
        "    <<: *limits\n"
        "    in: tcp://${HUB_HOST:-127.0.0.1}:1\n"
        "    out: {bind: 'tcp://${HUB_HOST:-127.0.0.1}:2'}\n"
        "    prometheus: ${METRICS}\n"
        "    max_message: ${SIZE}\n"
    )
    for name, value in {"QUEUE": "7", "METRICS": "9100", "SIZE": "2 MiB"}.items():
        monkeypatch.setenv(name, value)
    (spec,) = parse_all([("hub.yml", text)])
    assert spec.in_.bind == ("tcp://127.0.0.1:1",)
    assert spec.out.bind == ("tcp://127.0.0.1:2",)
    assert (spec.queue, spec.drain, spec.max_message) == (7, 0.0, 2 * 2**20)
    assert spec.prometheus == "tcp://127.0.0.1:9100"
    monkeypatch.delenv("METRICS")
    with pytest.raises(ConfigError, match=r"^hub.yml:7: hubs.jobs.prometheus: the variable METRICS is"):
        parse_all([("hub.yml", text)])
