"""`publish` in hub.yml: what is right gives a Publish, what is wrong an error that says what is right."""

from __future__ import annotations

import pytest

from hubs.files import parse_all
from hubs.spec import Publish
from mesh.errors import ConfigError

SIDES = 'in: "tcp://*:1"\nout: "tcp://*:2"\n'
HERE = SIDES + "publish: {zone: mesh.test, key_file: /k, as: box}"


def publish_of(text: str) -> Publish | None:
    (spec,) = parse_all([("/etc/mesh/hub.yml", text)])
    return spec.publish


@pytest.mark.parametrize(
    ("publish", "right"),
    [
        ("{zone: Mesh.Test., key_file: /k, as: Box}", Publish("mesh.test", "/k", as_="box")),
        (
            '{zone: mesh.test, server: "127.0.0.1:5300", key_file: mesh.key, ttl: 60, as: box.mesh.test}',
            Publish("mesh.test", "/etc/mesh/mesh.key", ("127.0.0.1", 5300), 60, "box.mesh.test"),
        ),
        ("{zone: a, key_file: /k, as: b, server: ns.a.b}", Publish("a", "/k", ("ns.a.b", 53), as_="b")),
        ('{zone: a, key_file: /k, as: b, server: "[::1]"}', Publish("a", "/k", ("::1", 53), as_="b")),
        ('{zone: a, key_file: /k, as: b, server: "[::1]:5300"}', Publish("a", "/k", ("::1", 5300), as_="b")),
    ],
)
@pytest.mark.parametrize("kind", ["queue", "sharded", "majordomo"])
def test_right(publish: str, right: Publish, kind: str) -> None:
    assert publish_of(f"{SIDES}type: {kind}\npublish: {publish}") == right


def test_a_hub_that_others_reach_needs_no_other_name() -> None:
    text = 'in: ["tcp://*:1", "tcp://10.0.0.7:3"]\nout: "tcp://*:2"\npublish: {zone: a, key_file: /k}'
    assert publish_of(text) == Publish("a", "/k")


@pytest.mark.parametrize(
    ("publish", "key", "problem"),
    [
        ("mesh.test", "publish", "must be a mapping such as {zone: mesh.example.com, key_file: mesh.key}"),
        ("{key_file: /k, as: b}", "publish", "lacks 'zone'"),
        ("{zone: a, as: b}", "publish", "lacks 'key_file'"),
        ("{zone: a, key_file: /k}", "publish", "lacks 'as': '*' says nothing to other machines"),
        ("{zoen: a}", "publish.zoen", "unknown key; did you mean 'zone'?"),
        ("{host: a}", "publish.host", "unknown key; the keys are zone, server, key_file, ttl, as"),
        ("{zone: }", "publish.zone", "has no value"),
        ("{zone: 5}", "publish.zone", "must be the name of a zone"),
        ("{zone: a b}", "publish.zone", "must be the name of a zone"),
        ("{zone: a..b}", "publish.zone", "must be the name of a zone"),
        ("{zone: a, key_file: /k, as: 10.0.0.7}", "publish.as", "must be the name of a host"),
        ("{zone: a, key_file: /k, as: tcp://box}", "publish.as", "must be the name of a host"),
        ("{zone: a, key_file: /k, as: b, ttl: 0}", "publish.ttl", "from 1 to 86400"),
        ("{zone: a, key_file: /k, as: b, server: 'a:b'}", "publish.server", "must be a name server"),
        ("{zone: a, key_file: /k, as: b, server: 'a:99999'}", "publish.server", "must be a name server"),
        ("{zone: a, key_file: /k, as: b, server: '::1'}", "publish.server", "must be a name server"),
    ],
)
def test_wrong(publish: str, key: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        publish_of(f"{SIDES}publish: {publish}")
    assert str(caught.value).startswith(f"/etc/mesh/hub.yml:3: {key}: ") and problem in str(caught.value)


def test_a_hub_that_clients_do_not_call_has_nothing_to_publish() -> None:
    with pytest.raises(ConfigError, match="publish: is a key of queue, sharded, majordomo hubs"):
        publish_of(f"{SIDES}type: streamer\npublish: {{zone: a, key_file: /k, as: b}}")


def test_a_hub_without_tcp_has_nothing_to_publish() -> None:
    text = "in: ipc:///run/a\nout: tcp://*:2\npublish: {zone: a, key_file: /k, as: b}"
    with pytest.raises(ConfigError, match="has nothing to publish: the in side binds no tcp"):
        publish_of(text)
