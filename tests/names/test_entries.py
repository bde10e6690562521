from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.core.balance_rule import Balance
from mesh.core.traffic import Faults, Split
from mesh.errors import ConfigError
from mesh.names.entries import parse_services
from mesh.names.mistakes import Mistakes
from mesh.names.model import SOCKET_TYPES, Endpoint, Service
from tests.helpers.named import named

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
PATH = "/etc/mesh/services.yml"

RIGHT = [
    ("users: tcp://10.0.0.5:4242", named("users", ("tcp://10.0.0.5:4242",))),
    ("users: 'tcp://[::1]:4242'", named("users", ("tcp://[::1]:4242",))),
    ("search: [tcp://a:1, tcp://b:1]", named("search", ("tcp://a:1", "tcp://b:1"))),
    ("search:\n  - tcp://a:1\n  - ipc:///b", named("search", ("tcp://a:1", "ipc:///b"))),
    ("orders: {hub: tcp://a:1}", named("orders", ("tcp://a:1",), hub=True)),
    ("orders: {hub: [tcp://a:1, tcp://b:1]}", named("orders", ("tcp://a:1", "tcp://b:1"), hub=True)),
    ("orders: {hub: tcp://a:1, type: router}", named("orders", ("tcp://a:1",), hub=True)),
    ("t: {address: [tcp://a:1, tcp://b:1]}", named("t", ("tcp://a:1", "tcp://b:1"))),
    (
        f"t: {{address: tcp://a:1, type: router, timeout: 5, retries: 2, weight: 3, key: '{KEY}'}}",
        named("t", ("tcp://a:1",), timeout=5.0, retries=2, weight=3, key=KEY),
    ),
    ("t: {address: tcp://a:1, timeout: 0.25}", named("t", ("tcp://a:1",), timeout=0.25)),
    ("t: {address: tcp://a:1, timeout: .5}", named("t", ("tcp://a:1",), timeout=0.5)),
    ("t: {address: tcp://a:1, timeout: 0.30000000000000004}", named("t", ("tcp://a:1",), timeout=0.1 + 0.2)),
    ("t: {address: tcp://a:1, retries: 0, weight: 9}", named("t", ("tcp://a:1",), retries=0, weight=9)),
    (
        "t: [tcp://a:1, {hub: tcp://h:1,priority: 9}, {address: tcp://b:1,weight: 2,version: 1.10, zone: b}]",
        Service(
            "t",
            (
                Endpoint("tcp://a:1"),
                Endpoint("tcp://h:1", hub=True, priority=9),
                Endpoint("tcp://b:1", weight=2, labels=(("version", "1.10"), ("zone", "b"))),
            ),
        ),
    ),
    (
        "t: {hub: [tcp://h:1, {address: tcp://a:1, weight: 1, zone: c}], weight: 3, version: '2', zone: b}",
        Service(
            "t",
            (
                Endpoint("tcp://h:1", hub=True, weight=3, labels=(("version", "2"), ("zone", "b"))),
                Endpoint("tcp://a:1", labels=(("version", "2"), ("zone", "c"))),
            ),
        ),
    ),
    ("t: {address: tcp://a:1, balance: key}", named("t", ("tcp://a:1",), balance=Balance("key"))),
    (
        "t: {address: tcp://a:1, balance: {tau: 2}}",
        named("t", ("tcp://a:1",), balance=Balance(tau=2.0)),
    ),
    (
        "t: {split: {a: 95, b: 5}, timeout: 2}",
        Service("t", (), timeout=2.0, split=Split((("a", 95), ("b", 5)))),
    ),
    (
        "t: {address: tcp://a:1, faults: {delay: {percent: 10, seconds: 0.5}, error: 1, drop: 0.5}}",
        Service("t", (Endpoint("tcp://a:1"),), faults=Faults(10.0, 0.5, 1.0, 0.5)),
    ),
    (
        "t: {address: tcp://a:1, faults: {delay: {percent: 100, seconds: 1}, error: 60, drop: 40}}",
        Service("t", (Endpoint("tcp://a:1"),), faults=Faults(100.0, 1.0, 60.0, 40.0)),
    ),
    ("on: tcp://a:1", named("on", ("tcp://a:1",))),
    ("404: tcp://a:1", named("404", ("tcp://a:1",))),
    ("1.5: tcp://a:1", named("1.5", ("tcp://a:1",))),
    ("? users\n: tcp://a:1\n", named("users", ("tcp://a:1",))),
]

# text, line, key as shown, what the error says
WRONG = [
    ("[a, b]", 1, None, "must map names to endpoints, as in 'users: tcp://10.0.0.5:4242', and is a list"),
    (
        "\n\nusers",
        3,
        None,
        "must map names to endpoints, as in 'users: tcp://10.0.0.5:4242', and is the text",
    ),
    ("42", 1, None, "and is 42"),
    (
        "a: tcp://x:1\nb: tcp://x:1\na: tcp://y:1",
        3,
        "a",
        "stands twice, in line 1 before: keep one of the two",
    ),
    ("on: tcp://x:1\n'on': tcp://x:1", 2, "on", "stands twice, in line 1 before"),
    ("a b: tcp://x:1", 1, None, "'a b' cannot name a service: a name is 1 to 62 letters, digits"),
    ("_a: tcp://x:1", 1, None, "'_a' cannot name a service"),
    ("'': tcp://x:1", 1, None, "'' cannot name a service"),
    ("tcp://x:1: a", 1, None, "'tcp://x:1' cannot name a service"),
    ("'<<': {a: tcp://x:1}", 1, None, "'<<' cannot name a service"),
    ("x: tcp://x:1\n[a]: tcp://x:1", 2, None, "a list where a key should stand: write 'KEY: VALUE'"),
    (
        "x: tcp://x:1\na:",
        2,
        "a",
        "must be an endpoint such as tcp://10.0.0.5:4242, a list of them, or a mapping",
    ),
    ("a: ~", 1, "a", "or a mapping with 'address', 'hub' or 'split', not nothing"),
    ("a: 42", 1, "a", "not 42"),
    ("a: true", 1, "a", "not true"),
    ("a: !!python/name:os.system x", 1, "a", "or a mapping with 'address', 'hub' or 'split', not x"),
    (
        "a: []",
        1,
        "a",
        "is an empty list: write an endpoint such as tcp://10.0.0.5:4242, a list of them, or a",
    ),
    ("a:\n- tcp://x:1\n- 5", 3, "a", "must be an endpoint such as tcp://10.0.0.5:4242, not 5"),
    ("a: [[tcp://x:1]]", 1, "a", "must be an endpoint such as tcp://10.0.0.5:4242, not a list"),
    ("a: [{x: y}]", 1, "a.x", "unknown key; the keys are address, hub, weight, priority, version, zone, key"),
    (
        "a:\n- {weight: 2}",
        2,
        "a",
        "an item of the list has neither 'address' nor 'hub': give exactly one, with",
    ),
    ("a: [{address: tcp://x:1, hub: tcp://y:1}]", 1, "a", "has both 'address' and 'hub': give exactly one"),
    ("a: [{address: [tcp://x:1]}]", 1, "a.address", "must be an endpoint such as tcp://10.0.0.5:4242, not a"),
    (
        "a: [{address: tcp://x:1, timeout: 5}]",
        1,
        "a.timeout",
        "unknown key; the keys are address, hub, weight",
    ),
    ("a:\n- tcp://x:1\n- {hub: tcp://x:1}", 3, "a", "'tcp://x:1' stands twice in the list"),
    (
        "a:\n  address: [tcp://x:1, {hub: tcp://y:1}]\n  type: pub",
        3,
        "a.type",
        "must be router beside 'hub', not the text 'pub'",
    ),
    (
        "a:\n  split: {}",
        2,
        "a.split",
        "must map services to weights, as in {users-v1: 95, users-v2: 5}, of 1 to",
    ),
    ("a: {split: b}", 1, "a.split", "must map services to weights"),
    ("a: {split: {b: x}}", 1, "a.split.b", "must be a whole number from 0 to 65535"),
    ("a: {split: {b: 0, c: 0}}", 1, "a.split", "gives no service any calls"),
    ("a: {split: {'b c': 1}}", 1, "a.split", "'b c' cannot name a service"),
    (
        "a:\n  split:\n    b: 1\nb: {split: {c: 1}}",
        3,
        "a.split.b",
        "is itself a split (/etc/mesh/services.yml:4)",
    ),
    ("a: {split: {a: 1}}", 1, "a.split.a", "is itself a split"),
    ("a: {split: {b: 1}}\nb: {address: tcp://x:1, type: pub}", 1, "a.split.b", "is of type 'pub'"),
    ("a: {split: {b: 1}, weight: 2}", 1, "a", "has 'weight' beside 'split': it belongs to the services"),
    ("a: {address: tcp://x:1, split: {b: 1}}", 1, "a", "has 'address' beside 'split'"),
    ("a: {address: tcp://x:1, faults: 5}", 1, "a.faults", "must be a mapping, as in {delay: {percent: 10"),
    ("a: {address: tcp://x:1, faults: {eror: 5}}", 1, "a.faults.eror", "unknown key; did you mean 'error'?"),
    (
        "a: {address: tcp://x:1, faults: {drop: 101}}",
        1,
        "a.faults.drop",
        "must be a number of percent from 0 to 1",
    ),
    (
        "a:\n  address: tcp://x:1\n  faults: {error: 60, drop: 60}",
        3,
        "a.faults",
        "'error' and 'drop' may have 100 percent together, for a call ends once, and have 120",
    ),
    (
        "a: {address: tcp://x:1, faults: {delay: 1}}",
        1,
        "a.faults.delay",
        "must be a mapping with both, as in",
    ),
    (
        "a: {address: tcp://x:1, faults: {delay: {percent: 1}}}",
        1,
        "a.faults.delay",
        "must be a mapping with both",
    ),
    (
        "a: {address: tcp://x:1, faults: {delay: {ms: 1}}}",
        1,
        "a.faults.delay.ms",
        "unknown key; the keys are perc",
    ),
    ("a: {address: tcp://x:1, priority: -1}", 1, "a.priority", "must be a whole number from 0 to 65535"),
    (
        "a: {address: tcp://x:1, version: [1]}",
        1,
        "a.version",
        "must be a text such as '2' or 'cellar', not a list",
    ),
    ("a: {address: tcp://x:1, zone: ''}", 1, "a.zone", "must have 1 to 200 printable characters"),
    ("a: &x [*x]", 1, "a", "must be an endpoint such as tcp://10.0.0.5:4242, not a list"),
    ("a:\n- tcp://x:1\n- tcp://x:1", 3, "a", "'tcp://x:1' stands twice in the list: keep one of the two"),
    ("a: localhost:4242", 1, "a", "'localhost:4242' is no endpoint; did you mean 'tcp://localhost:4242'?"),
    (
        "a: tcp://*:4242",
        1,
        "a",
        "has '*' for a host, which only a server can bind to: write the server's host",
    ),
    (
        "a:\n  - tcp://x:1\n  - tcp://x:0",
        3,
        "a",
        "'tcp://x:0' has '0' for a port: write a number from 1 to 65535",
    ),
    ("a:\n  hub: http://x", 2, "a.hub", "unknown transport 'http'"),
    (
        "a:\n  address: []",
        2,
        "a.address",
        "is an empty list: write an endpoint such as tcp://10.0.0.5:4242, or a",
    ),
    (
        "a:\n  address: {}",
        2,
        "a.address",
        "must be an endpoint such as tcp://10.0.0.5:4242, or a list of them",
    ),
    (
        "a: {balance: random}",
        1,
        "a.balance",
        "must be one of peak_ewma, least_loaded, round_robin, key, not the text 'random'",
    ),
    ("a: {balance: {rule: keys}}", 1, "a.balance.rule", "not the text 'keys'; did you mean 'key'?"),
    ("a: {balance: {tau: 1000000}}", 1, "a.balance.tau", "must be from 0.001 to 3600 seconds, not 1e+06"),
    ("a: {balance: {taus: 1}}", 1, "a.balance.taus", "unknown key; did you mean 'tau'?"),
    ("a: {weight: 0}", 1, "a.weight", "must be a whole number from 1 to 65535, not 0"),
    (
        "a: {}",
        1,
        "a",
        "has none of 'address', 'hub' and 'split': give exactly one, 'address' for its servers, 'hub'",
    ),
    ("a: {timeout: 5}", 1, "a", "has none of 'address', 'hub' and 'split'"),
    ("a: {address: tcp://x:1, hub: tcp://y:1}", 1, "a", "has both 'address' and 'hub': give exactly one"),
    ("a:\n  adress: tcp://x:1", 2, "a.adress", "unknown key; did you mean 'address'?"),
    (
        "a:\n  url: tcp://x:1",
        2,
        "a.url",
        "unknown key; the keys are address, hub, split, type, timeout, retries",
    ),
    ("services:\n  users: tcp://x:1", 2, "services.users", "unknown key"),
    ('a: {"x\\ny": 1}', 1, "a.'x\\ny'", "unknown key"),
    ("a:\n  hub: tcp://x:1\n  hub: tcp://y:1", 3, "a.hub", "stands twice, in line 2 before"),
    ("a:\n  address: tcp://x:1\n  timeout:", 3, "a.timeout", "has no value: write one, or take the key out"),
    ("a:\n  address:\n  type: pub", 2, "a.address", "has no value"),
    ("a: {address: tcp://x:1, type: pubs}", 1, "a.type", "not the text 'pubs'; did you mean 'pub'?"),
    ("a: {address: tcp://x:1, type: PULL}", 1, "a.type", "not the text 'PULL'; did you mean 'pull'?"),
    ("a: {address: tcp://x:1, type: dealer}", 1, "a.type", f"must be one of {', '.join(SOCKET_TYPES)}, not"),
    ("a: {address: tcp://x:1, type: [pub]}", 1, "a.type", "not a list"),
    ("a:\n  hub: tcp://x:1\n  type: pub", 3, "a.type", "must be router beside 'hub', not the text 'pub'"),
    *(
        (f"a:\n  address: tcp://x:1\n  timeout: {value}", 3, "a.timeout", f"0.5, not {shown}")
        for value, shown in [
            ("5s", "the text '5s'"),
            ("'5'", "the text '5'"),
            ("0", "0"),
            ("-1", "-1"),
            (".inf", ".inf"),
            (".nan", ".nan"),
            ("true", "true"),
            ("1:30", "1:30"),
            ("0x10", "0x10"),
            ("010", "010"),
            ("9" * 5000, "9" * 60 + "…"),
            ("[5]", "a list"),
        ]
    ),
    *(
        (
            f"a:\n  address: tcp://x:1\n  {key}: {value}",
            3,
            f"a.{key}",
            f"must be a whole number from {bounds}",
        )
        for key, bounds in [("retries", "0 to 100"), ("weight", "1 to 65535")]
        for value in ["1.5", "-1", "65536", "no", "two", "'1'", "{}"]
    ),
    (
        "a: {address: tcp://x:1, key: abc}",
        1,
        "a.key",
        "CURVE public key, 40 characters of Z85 in quotes, and has 3",
    ),
    (f"a: {{address: tcp://x:1, key: '{KEY[:39]}~'}}", 1, "a.key", "and has a character that Z85 lacks"),
    ("a: {address: tcp://x:1, key: 5}", 1, "a.key", "must be a CURVE public key"),
    # YAML itself
    ("a:\n\tb: 1", 2, None, "not valid YAML: a tab where only spaces may stand: indent with spaces"),
    (
        "a: [tcp://x:1,\n",
        1,
        None,
        "not valid YAML: while parsing a flow node, expected the node content, but",
    ),
    (
        "\na: [tcp://x:1\nb: tcp://y:1\n",
        3,
        None,
        "while parsing a flow sequence (begun in line 2), expected ','",
    ),
    ("a: 'tcp://x:1\n\n\n", 1, None, "not valid YAML: while scanning a quoted scalar, found unexpected end"),
    ("a: tcp://x:1\nb: c: d", 2, None, "not valid YAML: mapping values are not allowed here: look at its"),
    ("a: @x", 1, None, "not valid YAML: while scanning for the next token, found character '@'"),
    ("a: *x", 1, None, "not valid YAML: found undefined alias 'x'"),
    ("a: tcp://x:1\n---\nb: tcp://y:1", 2, None, "expected a single document in the stream"),
    (
        "a: tcp://x:1\nb: \x00",
        2,
        None,
        "not valid YAML: the character U+0000 may not stand in it: take it out",
    ),
]


@pytest.mark.parametrize(("text", "service"), RIGHT)
def test_right(text: str, service: Service) -> None:
    assert parse_services(text, PATH) == {service.name: service}


@pytest.mark.parametrize(("text", "line", "key", "says"), WRONG)
def test_wrong(text: str, line: int, key: str | None, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_services(text, PATH)
    message = str(caught.value)
    assert message.startswith(f"{PATH}:{line}: {key + ': ' if key else ''}")
    assert says in message
    assert message.isprintable()
    assert len(message) < 400


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing yet\n", "---\n", "{}", "~", "--- # x\n...\n"])
def test_an_empty_file_has_no_services(text: str) -> None:
    assert parse_services(text, PATH) == {}


@pytest.mark.parametrize("kind", SOCKET_TYPES)
def test_types(kind: str) -> None:
    assert parse_services(f"a: {{address: tcp://x:1, type: {kind}}}", PATH)["a"].endpoints[0].type == kind


def test_services_know_their_line_and_keep_the_order() -> None:
    text = "# first\nusers: tcp://a:1\n\nsearch:\n  - tcp://b:1\norders: {hub: tcp://c:1}\n"
    services = parse_services(text, PATH)
    assert [(name, service.source) for name, service in services.items()] == [
        ("users", f"{PATH}:2"),
        ("search", f"{PATH}:4"),
        ("orders", f"{PATH}:6"),
    ]


def test_windows_line_ends_count_as_lines() -> None:
    assert parse_services("a: tcp://x:1\r\nb: tcp://x:2\r\n", PATH)["b"].source == f"{PATH}:2"


def test_an_anchor_may_be_used_again() -> None:
    services = parse_services(
        "a: &both [tcp://x:1, tcp://y:1]\nb: *both\nc: {address: *both, type: pub}", PATH
    )
    assert services["a"].addresses == services["b"].addresses == services["c"].addresses


@pytest.mark.parametrize("text", ["[" * 5000, "a: " + "{a: " * 5000, "- " * 5000])
def test_deep_nesting_is_an_error_and_no_crash(text: str) -> None:
    with pytest.raises(ConfigError, match="nested too deeply"):
        parse_services(text, PATH)


@pytest.mark.parametrize("text", ['a: "\\UFFFFFFFF"', "%YAML 1." + "9" * 5000 + "\n---\na: b"])
def test_what_trips_the_yaml_library_is_an_error_in_the_file(text: str) -> None:
    with pytest.raises(ConfigError, match=f"^{PATH}: not valid YAML: "):
        parse_services(text, PATH)


def test_a_wrong_key_is_not_shown_for_it_may_be_the_secret_one() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_services(f"a: {{address: tcp://x:1, key: '{KEY}secret'}}", PATH)
    assert KEY not in str(caught.value)


words = st.sampled_from(
    [
        "users",
        ":",
        ": ",
        "\n",
        "  ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "tcp://a:1",
        "hub",
        "address",
        "key",
        "type",
    ]
    + [
        "timeout",
        "'",
        '"',
        "#",
        "&a",
        "*a",
        "!!int",
        "!x",
        "|",
        ">",
        "?",
        "<<",
        "---",
        "%",
        "\t",
        "5",
        "~",
        "\\",
        "@",
    ]
)


@given(st.text() | st.lists(words, max_size=30).map("".join))
def test_whoever_wants_all_mistakes_gets_the_first_among_them(text: str) -> None:
    mistakes = Mistakes(keep=True)
    with mistakes:
        kept = parse_services(text, PATH, mistakes=mistakes)
    try:
        services = parse_services(text, PATH)
    except ConfigError as error:
        assert str(error) in map(str, mistakes.found)
    else:
        assert not mistakes.found and kept == services


@given(st.text() | st.lists(words, max_size=30).map("".join))
def test_any_text_gives_services_or_a_config_error(text: str) -> None:
    try:
        services = parse_services(text, PATH)
    except ConfigError as error:
        assert str(error).startswith(f"{PATH}:")
    else:
        assert all(service.endpoints for service in services.values())
