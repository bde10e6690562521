"""The labels of servers: what a program may give, and what counts of what a peer says."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.core.labels import MOST_LABELS, check_labels, told_labels
from mesh.errors import ConfigError


def test_labels_are_text_by_name() -> None:
    assert check_labels({"zone": "eu", "version": "2.1-rc 3"}) == {"version": "2.1-rc 3", "zone": "eu"}
    assert check_labels(None) == check_labels({}) == {}


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ([("version", "2")], "labels must be a dict of text to text, not [("),
        ({"Version": "2"}, "'Version' is no name of a label"),
        ({"": "2"}, "'' is no name of a label"),
        ({"a b": "2"}, "'a b' is no name of a label"),
        ({"a" * 55: "2"}, "is no name of a label: it has 1 to 54 of"),
        ({2: "2"}, "2 is no name of a label"),
        ({"hub": "1"}, "no label can be called 'hub', which says something else in DNS"),
        ({"version": 2}, "the label 'version' is 2: it has to be text"),
        ({"version": ""}, "the label 'version' is ''"),
        ({"version": "é" * 101}, "of 1 to 200 printable bytes"),
        ({"version": "2\n"}, "the label 'version' is '2\\n'"),
        ({f"a{number}": "x" for number in range(17)}, "17 labels of 126 bytes are too many"),
        ({f"a{number}": "x" * 200 for number in range(5)}, "5 labels of 1030 bytes are too many"),
    ],
)
def test_what_is_no_label(given: Any, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_labels(given)
    assert part in str(caught.value)


def test_of_what_a_peer_says_those_count_that_are_labels() -> None:
    told = {"zone": "eu", "version": 2, "by": "me", b"x": "y", "\x1b[2J": "z", "ok": "\x1b[2J", "a": "b"}
    assert told_labels(told) == (("a", "b"), ("zone", "eu"))
    assert told_labels(["zone"]) == told_labels(None) == ()
    assert len(told_labels({f"a{number}": "x" for number in range(1_000)})) == MOST_LABELS
