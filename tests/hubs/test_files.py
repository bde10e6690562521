"""hub.yml: what is right gives specs, what is wrong an error with file, line, key and what would be right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubs.files import load, parse_all
from hubs.spec import HubSpec, Side
from mesh.errors import ConfigError

PATH = "/etc/mesh/hub.yml"
A, B = Side(("tcp://*:1",)), Side(("tcp://*:2",))
SIDES = "in: tcp://*:1\nout: tcp://*:2\n"

RIGHT = [
    (SIDES, HubSpec("hub", "queue", A, B)),
    (f"{SIDES}type: queue", HubSpec("hub", "queue", A, B)),
    (f"{SIDES}type: forwarder", HubSpec("hub", "forwarder", A, B)),
    (f"{SIDES}type: streamer", HubSpec("hub", "streamer", A, B)),
    (f"{SIDES}type: majordomo", HubSpec("hub", "majordomo", A, B)),
    (f"{SIDES}workers: registered", HubSpec("hub", "queue", A, B)),
    (f"{SIDES}workers: anonymous", HubSpec("hub", "queue", A, B, anonymous=True)),
    (f"{SIDES}service: users", HubSpec("hub", "queue", A, B, service="users")),
    (f"{SIDES}service: 404", HubSpec("hub", "queue", A, B, service="404")),
    (f"{SIDES}type: majordomo\ndefault: users", HubSpec("hub", "majordomo", A, B, default="users")),
    (
        f"{SIDES}heartbeat: 0.30000000000000004",  # 0.1 + 0.2, as programs write it
        HubSpec("hub", "queue", A, B, heartbeat=0.1 + 0.2),
    ),
    (
        f"{SIDES}heartbeat: .5\ntimeout: 5\ndrain: 0\nqueue: 7\nqueue_bytes: 1",
        HubSpec("hub", "queue", A, B, heartbeat=0.5, timeout=5, drain=0, queue=7, queue_bytes=1),
    ),
    (f"{SIDES}max_message: 65536", HubSpec("hub", "queue", A, B, max_message=65536)),
    (f"{SIDES}max_message: 64 MiB", HubSpec("hub", "queue", A, B, max_message=64 * 2**20)),
    (f"{SIDES}queue_bytes: 2GiB", HubSpec("hub", "queue", A, B, queue_bytes=2 * 2**30)),
    (f"{SIDES}prometheus: 9100", HubSpec("hub", "queue", A, B, prometheus="tcp://127.0.0.1:9100")),
    (f"{SIDES}prometheus: tcp://*:9100", HubSpec("hub", "queue", A, B, prometheus="tcp://*:9100")),
    (
        "in: [tcp://*:1, 'tcp://[::1]:3']\nout: {bind: ipc:///a, connect: [tcp://x:1, tcp://y:1]}",
        HubSpec(
            "hub",
            "queue",
            Side(("tcp://*:1", "tcp://[::1]:3")),
            Side(("ipc:///a",), ("tcp://x:1", "tcp://y:1")),
        ),
    ),
    (
        "in: {connect: tcp://x:1}\nout: tcp://*:2\ntype: streamer",
        HubSpec("hub", "streamer", Side((), ("tcp://x:1",)), B),
    ),
    ("in: tcp://*:*\nout: tcp://*:*", HubSpec("hub", "queue", Side(("tcp://*:*",)), Side(("tcp://*:*",)))),
    (
        "in: tcp://*:1\nout: tcp://*:1\ntype: majordomo",
        HubSpec("hub", "majordomo", A, A),
    ),
    ("hubs: {a: {in: tcp://*:1, out: tcp://*:2}}", HubSpec("a", "queue", A, B)),
]

# text, line, key as shown, what the error says
WRONG = [
    ("[a, b]", 1, None, "must be a mapping with 'in', 'out' and 'type', not a list"),
    ("\nhub", 2, None, "must be a mapping with 'in', 'out' and 'type', not the text 'hub'"),
    ("type: queue", 1, None, "is no hub: write 'in: ENDPOINT', 'out: ENDPOINT' and 'type: TYPE', or several"),
    ("hub: {a: b}", 1, None, "is no hub ('hub' is not 'hubs'): write 'in"),
    ("out: tcp://*:2", 1, None, "lacks 'in': write 'in: ENDPOINT', where its clients come to"),
    ("type: streamer\nin: tcp://*:2", 1, None, "lacks 'out': write 'out: ENDPOINT', where its pullers come"),
    (f"{SIDES}in: tcp://*:3", 3, "in", "stands twice, in line 1 before: keep one of the two"),
    ("in: tcp://*:1\nout:", 2, "out", "has no value: write one, or take the key out"),
    (
        "in: 42\nout: tcp://*:2",
        1,
        "in",
        'must be an endpoint such as "tcp://*:1111", a list of them, or {bind',
    ),
    ("in: []\nout: tcp://*:2", 1, "in", "is an empty list: write an endpoint"),
    ("in: {}\nout: tcp://*:2", 1, "in", "is an empty mapping: write an endpoint"),
    (
        "in: [tcp://*:1, [a]]\nout: tcp://*:2",
        1,
        "in",
        'must be an endpoint such as "tcp://*:1111", not a list',
    ),
    ("in:\n- tcp://*:1\n- tcp://*:1\nout: tcp://*:2", 3, "in", "'tcp://*:1' stands twice in the list"),
    ("in: {bnd: tcp://*:1}\nout: tcp://*:2", 1, "in.bnd", "unknown key; did you mean 'bind'?"),
    ("in: {xyz: tcp://*:1}\nout: tcp://*:2", 1, "in.xyz", "unknown key; the keys are bind and connect"),
    ("in: {bind: {a: b}}\nout: tcp://*:2", 1, "in.bind", "or a list of them, not a mapping"),
    ("in: {bind: }\nout: tcp://*:2", 1, "in.bind", "or a list of them, not nothing"),
    (
        "in: {connect: tcp://*:1}\nout: tcp://*:2",
        1,
        "in.connect",
        "'tcp://*:1' has '*' for a host, which only",
    ),
    ("in: {bind: }\nout: tcp://*:2", 1, "in.bind", "not nothing"),
    ("in: localhost:1\nout: tcp://*:2", 1, "in", "no endpoint; did you mean 'tcp://localhost:1'?"),
    ("in: tcp://*\nout: tcp://*:2", 1, "in", "has no port"),
    (
        "in: inproc://a\nout: tcp://*:2",
        1,
        "in",
        "is reached only from within the hub's own process: write tcp",
    ),
    (
        f"{SIDES}type: que",
        3,
        "type",
        "must be one of queue, sharded, majordomo, forwarder, streamer, not the text 'que'; did",
    ),
    (
        f"{SIDES}type: [queue]",
        3,
        "type",
        "must be one of queue, sharded, majordomo, forwarder, streamer, not a list",
    ),
    (f"{SIDES}heartbaet: 5", 3, "heartbaet", "unknown key; did you mean 'heartbeat'?"),
    (f"{SIDES}zzz: 5", 3, "zzz", "unknown key; the keys are in, out, type, heartbeat"),
    (f"{SIDES}default: a", 3, "default", "is a key of majordomo hubs, and this is a queue: take it out"),
    (
        f"{SIDES}type: streamer\nqueue: 5",
        4,
        "queue",
        "is a key of queue, sharded, majordomo hubs, and this is a streamer: take it out",
    ),
    (
        f"{SIDES}type: majordomo\nworkers: anonymous",
        4,
        "workers",
        "is a key of queue hubs, and this is a majordomo",
    ),
    (f"{SIDES}workers: anonymus", 3, "workers", "must be one of registered, anonymous, not the text"),
    (
        f"{SIDES}workers: anonymous\ntimeout: 5",
        4,
        "timeout",
        "has no meaning with 'workers: anonymous', where",
    ),
    (
        f"{SIDES}service: a b",
        3,
        "service",
        "must be the name of a service, not the text 'a b': a name is 1 to 62",
    ),
    (f"{SIDES}service: [a]", 3, "service", "must be the name of a service, not a list"),
    (
        f"{SIDES}heartbeat: 0.05",
        3,
        "heartbeat",
        "must be a number of seconds from 0.1 to 3600, written as 5 or 0.5 is, not 0.05",
    ),
    (f"{SIDES}heartbeat: 3.0e-1", 3, "heartbeat", "written as 5 or 0.5 is, not 3.0e-1"),
    (
        f"{SIDES}heartbeat: 4000",
        3,
        "heartbeat",
        "must be a number of seconds from 0.1 to 3600, written as 5 or 0.5 is, not 4000",
    ),
    (
        f"{SIDES}timeout: soon",
        3,
        "timeout",
        "must be a number of seconds from 0.001 to 86400, written as 5 or 0.5 is, not the text",
    ),
    (
        f"{SIDES}drain: '0'",
        3,
        "drain",
        "must be a number of seconds from 0 to 86400, written as 5 or 0.5 is, not the text",
    ),
    (
        f"{SIDES}drain: 86401",
        3,
        "drain",
        "must be a number of seconds from 0 to 86400, written as 5 or 0.5 is, not 86401",
    ),
    (f"{SIDES}queue: 0", 3, "queue", "must be a whole number from 1 to 10000000, not 0"),
    (f"{SIDES}queue: 1.5", 3, "queue", "must be a whole number"),
    (
        f"{SIDES}queue_bytes: 1 MB",
        3,
        "queue_bytes",
        "must be a number of bytes from 1 to 1024 GiB, such as 65536 or",
    ),
    (f"{SIDES}queue_bytes: [1]", 3, "queue_bytes", "or 64 MiB, not a list"),
    (f"{SIDES}queue_bytes: 2000 GiB", 3, "queue_bytes", "must be a number of bytes from 1 to 1024 GiB"),
    (f"{SIDES}max_message: 1000", 3, "max_message", "must be a number of bytes from 1024 to 1024 GiB"),
    (f"{SIDES}service: mmi.x", 3, "service", "'mmi.x' is one of the hub's own services: take another name"),
    (f"{SIDES}prometheus: 0", 3, "prometheus", "must be a whole number from 1 to 65535, not 0"),
    (
        f"{SIDES}prometheus: ipc:///a",
        3,
        "prometheus",
        "'ipc:///a' is not reached by HTTP; it takes a port such as",
    ),
    (f"{SIDES}prometheus: localhost", 3, "prometheus", "'localhost' is no endpoint"),
    ("in: tcp://*:1\nout: tcp://*:1", 2, "out", "'tcp://*:1' is bound by the in side of hub 'hub'"),
    (
        "in: tcp://*:1\nout: tcp://127.0.0.1:1",
        2,
        "out",
        f"'tcp://127.0.0.1:1' is bound as 'tcp://*:1' by the in side of hub 'hub' ({PATH}:1): take another",
    ),
    ("in: tcp://localhost:1\nout: tcp://127.0.0.1:01", 2, "out", "is bound as 'tcp://localhost:1' by"),
    ("in: ipc:///a/b\nout: ipc:///a//b", 2, "out", "is bound as 'ipc:///a/b' by the in side"),
    (
        "in: [tcp://*:1, tcp://*:2]\nout:\n- tcp://*:2\ntype: majordomo",
        3,
        "out",
        "'tcp://*:2' is bound by the in side",
    ),
    (
        "in: tcp://*:1\nout: {connect: tcp://localhost:1}",
        2,
        "out",
        "'tcp://localhost:1' is bound by this hub itself",
    ),
    (f"{SIDES}prometheus: 2", 3, "prometheus", "'tcp://127.0.0.1:2' is bound as 'tcp://*:2' by the out side"),
    ("hubs: 5", 1, "hubs", "must map names to hubs, as in 'NAME: {in: …, out: …}', not 5"),
    ("hubs: {}", 1, "hubs", "has no hub in it: write one, as in 'NAME: {in: …, out: …}'"),
    ("hubs:", 1, "hubs", "has no hub in it: write one"),
    (
        f"{SIDES}drain: -1",
        3,
        "drain",
        "must be a number of seconds from 0 to 86400, written as 5 or 0.5 is, not -1",
    ),
    (
        f"{SIDES}heartbeat: 0",
        3,
        "heartbeat",
        "must be a number of seconds from 0.1 to 3600, written as 5 or 0.5 is, not 0",
    ),
    (
        f"{SIDES}prometheus: udp://a:1",
        3,
        "prometheus",
        "has the unknown transport 'udp'; it takes a port such",
    ),
    (
        "in: udp://*:1\nout: tcp://*:2",
        1,
        "in",
        "unknown transport 'udp': write tcp://HOST:PORT or ipc://PATH",
    ),
    ("hubs: {a b: {in: tcp://*:1, out: tcp://*:2}}", 1, "hubs", "'a b' cannot name a hub: a name is 1 to 62"),
    ("hubs: {a: tcp://*:1}", 1, "hubs.a", "must be a mapping with 'in', 'out' and 'type', not the text"),
    ("hubs:\n  a: {in: tcp://*:1}", 2, "hubs.a", "lacks 'out'"),
    (
        "hubs:\n  a: {in: tcp://*:1, out: tcp://*:2}\nin: tcp://*:3",
        3,
        "in",
        "stands beside 'hubs': move it into",
    ),
    (
        "hubs:\n  a: {in: tcp://*:1, out: tcp://*:2}\n  b:\n    in: tcp://*:3\n    out: tcp://*:1",
        5,
        "hubs.b.out",
        f"'tcp://*:1' is bound by the in side of hub 'a' ({PATH}:2): take another port or path",
    ),
    ("hubs:\n  a: {in: tcp://*:1, out: tcp://*:2}\n  a: {}", 3, "hubs.a", "stands twice, in line 2 before"),
    ("in: *:1\nout: tcp://*:2", 1, None, "not valid YAML"),
    ("in: tcp://*:1\n\tout: tcp://*:2", 2, None, "not valid YAML: a tab where only spaces may stand"),
]


@pytest.mark.parametrize(("text", "spec"), RIGHT)
def test_what_is_right(text: str, spec: HubSpec) -> None:
    assert parse_all([(PATH, text)]) == [spec]


@pytest.mark.parametrize(("text", "line", "key", "says"), WRONG)
def test_what_is_wrong(text: str, line: int, key: str | None, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_all([(PATH, text)])
    shown = str(caught.value)
    assert shown.startswith(f"{PATH}:{line}: {key + ': ' if key else ''}"), shown
    assert says in shown


def test_an_empty_file() -> None:
    with pytest.raises(ConfigError, match=f"^{PATH}: is empty: write 'in: ENDPOINT'"):
        parse_all([(PATH, "# nothing\n")])


def test_several_hubs_and_files_keep_their_order_and_lines() -> None:
    several = "hubs:\n  b: {in: tcp://*:3, out: tcp://*:4}\n\n  a: {in: tcp://*:5, out: tcp://*:6}\n"
    specs = parse_all([("one.yml", SIDES), ("two.yml", several)])
    assert [(spec.name, spec.source) for spec in specs] == [
        ("one", "one.yml:1"),
        ("b", "two.yml:2"),
        ("a", "two.yml:4"),
    ]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/jobs.yml", "jobs"),
        ("my jobs.yaml", "my-jobs"),
        (".yml", "yml"),
        ("._.yml", "hub"),
        ("ä.yml", "hub"),
    ],
)
def test_a_hub_alone_in_its_file_has_the_name_of_the_file(path: str, name: str) -> None:
    assert parse_all([(path, SIDES)])[0].name == name


def test_hubs_of_two_files_with_the_same_name() -> None:
    other = "in: tcp://*:3\nout: tcp://*:4\n"
    with pytest.raises(
        ConfigError, match=r"^b/hub.yml:1: a/hub.yml:1 has a hub 'hub' already: rename the file"
    ):
        parse_all([("a/hub.yml", SIDES), ("b/hub.yml", other)])
    named = "hubs:\n  hub: {in: tcp://*:3, out: tcp://*:4}"
    with pytest.raises(ConfigError, match=r"^b.yml:2: hubs.hub: hub.yml:1 has a hub 'hub' already: give one"):
        parse_all([("hub.yml", SIDES), ("b.yml", named)])


def test_an_endpoint_that_two_files_bind() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_all([("a.yml", SIDES), ("b.yml", "in: tcp://*:3\nout: [ipc:///x, tcp://10.0.0.1:2]\n")])
    assert str(caught.value) == (
        "b.yml:2: out: 'tcp://10.0.0.1:2' is bound as 'tcp://*:2' by the out side of hub 'a' (a.yml:2): "
        "take another port or path"
    )


def test_hubs_may_share_the_port_of_their_metrics_but_no_other() -> None:
    other = "in: tcp://*:3\nout: tcp://*:4\nprometheus: "
    first = f"{SIDES}prometheus: 9100"
    assert len(parse_all([("a.yml", first), ("b.yml", f"{other}9100")])) == 2
    with pytest.raises(ConfigError, match=r"is bound as 'tcp://127.0.0.1:9100' by prometheus"):
        parse_all([("a.yml", first), ("b.yml", f"{other}tcp://*:9100")])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tcp://127.0.0.1:1", "tcp://127.0.0.2:1"),
        ("tcp://*:1", "ipc://1"),
        ("ipc://@a", "ipc://a"),
        ("ipc://*", "ipc://*"),
    ],
)
def test_endpoints_that_do_not_clash(one: str, other: str) -> None:
    assert parse_all([(PATH, f"in: '{one}'\nout: '{other}'")])


def test_a_hub_may_connect_to_the_same_port_elsewhere() -> None:
    assert parse_all([(PATH, "in: tcp://*:1\nout: {connect: tcp://other:1}")])


def test_a_change_of_lines_is_no_change() -> None:
    assert parse_all([(PATH, SIDES)]) == parse_all([(PATH, f"# more\n\n{SIDES}")])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing, folder, bad = tmp_path / "none.yml", tmp_path, tmp_path / "bad.yml"
    pipe = tmp_path / "pipe.yml"
    os.mkfifo(pipe)
    bad.write_bytes(b"in: tcp://*:1\n# \xff")
    for path, says in [
        (missing, f"{missing}: cannot be read: No such file or directory: give the path of a hub.yml"),
        (folder, f"{folder}: cannot be read: Is a directory: give"),
        (pipe, f"{pipe}: is no regular file: give the path of a hub.yml"),
        (Path("/dev/null"), "/dev/null: is no regular file: give"),
        (bad, f"{bad}:2: the byte 0xff is not UTF-8: save the file as UTF-8"),
    ]:
        with pytest.raises(ConfigError) as caught:
            load([path])
        assert str(caught.value).startswith(says)


def test_a_byte_order_mark_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "hub.yml").write_text(SIDES, encoding="utf-8-sig")
    assert load([tmp_path / "hub.yml"]) == [HubSpec("hub", "queue", A, B)]


_WORDS = """
in out type hubs workers heartbeat bind connect anonymous queue : : {} [] { } [ ] , - & &a *a ~ 5 ''
prometheus tcp://*:1 tcp://*:2 ipc:///x tcp://a:1
"""
_words = st.sampled_from([*_WORDS.split(), "\n", "\n", " "]).map(lambda word: word + " ")


@given(st.text() | st.lists(_words, max_size=30).map("".join))
def test_any_text_gives_hubs_or_a_config_error(text: str) -> None:
    try:
        specs = parse_all([(PATH, text)])
    except ConfigError as error:
        assert str(error).startswith(f"{PATH}:")
    else:
        assert all(spec.in_ != Side() and spec.out != Side() for spec in specs)
