"""Who belongs to a key: the same for everybody, in fair shares, and nobody else's when one goes."""

from __future__ import annotations

from collections import Counter

from mesh.core.rendezvous import claim, strongest

NAMES = [f"tcp://server:{number}" for number in range(100)]


def owner(key: bytes, names: list[str]) -> str:
    return max(names, key=lambda name: claim(key, name))


def test_the_claims_are_the_same_on_every_machine() -> None:
    assert claim(b"user:42", "tcp://server:1") == 8.220766193187009
    assert claim(b"user:42", "tcp://server:1", 3) == 3 * claim(b"user:42", "tcp://server:1")
    assert 0.0 < claim(b"", "\udc80") < float("inf")


def test_weights_are_shares_of_the_keys() -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 5.0}
    counts = Counter(
        max(weights, key=lambda name: claim(b"%d" % key, name, weights[name])) for key in range(4_000)
    )
    assert abs(counts["a"] - 500) < 100 and abs(counts["b"] - 1_000) < 120 and abs(counts["c"] - 2_500) < 150


def test_a_subset_is_kept_as_others_come_and_go() -> None:
    assert strongest(b"client", NAMES[:32], 32, str) == NAMES[:32]
    some = strongest(b"client", NAMES, 32, str)
    assert len(some) == 32 and some == sorted(some, key=NAMES.index)
    without = strongest(b"client", [name for name in NAMES if name != some[0]], 32, str)
    assert len(set(some) & set(without)) == 31


def test_subsets_of_many_clients_use_all_alike() -> None:
    used = Counter(name for client in range(200) for name in strongest(b"%d" % client, NAMES, 32, str))
    assert len(used) == 100 and min(used.values()) > 40 and max(used.values()) < 95
