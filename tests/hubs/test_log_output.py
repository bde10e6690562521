"""What is printed and logged where nobody reads it, or where that can't be written."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from hubs.log_output import _log_failure
from mesh.cli.lines import MOST, Lines, Stream
from tests.helpers.processes import PATIENCE, eventually
from tests.hubs.commands import full_pipe


class Pipe:
    """A full one, that is emptied when the test says so."""

    def __init__(self) -> None:
        self.reader, self.writer = full_pipe()
        self._read = b""
        os.set_blocking(self.reader, False)

    def lines(self) -> list[str]:
        """All that has come so far after what it was filled with."""
        try:
            while data := os.read(self.reader, 65536):
                self._read += data
        except BlockingIOError:
            pass
        return self._read.lstrip(b"\0").decode().splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.reader)  # which ends the write that waits


def lines_to(fd: int) -> tuple[Lines, list[OSError]]:
    errors: list[OSError] = []
    return Lines(fd, lambda number: f"lost {number}", errors.append), errors


def test_lines_wait_for_their_reader_and_nobody_waits_for_them(pipe: Pipe) -> None:
    lines, errors = lines_to(pipe.writer)
    for number in range(10):
        lines.put(f"line {number}")
    wanted = [f"line {number}" for number in range(10)]
    eventually(lambda: pipe.lines() == wanted)
    lines.flush(time.monotonic() + PATIENCE)
    assert not errors


def test_the_oldest_lines_are_lost_and_counted(pipe: Pipe) -> None:
    lines, _ = lines_to(pipe.writer)
    lines.put("first")
    eventually(lambda: lines._waiting.empty(), what="the write of the first")
    for number in range(MOST + 7):
        lines.put(f"line {number}")
    wanted = ["first", "lost 7", *(f"line {number}" for number in range(7, MOST + 7))]
    eventually(lambda: pipe.lines() == wanted)
    lines.put("and on")
    eventually(lambda: pipe.lines() == [*wanted, "and on"])


def test_a_descriptor_that_does_not_block_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe.writer, False)
    lines, errors = lines_to(pipe.writer)
    lines.put("a line")
    eventually(lambda: pipe.lines() == ["a line"])
    assert not errors


def test_the_last_lines_are_given_up(pipe: Pipe) -> None:
    lines, _ = lines_to(pipe.writer)
    lines.put("a line")
    ended = threading.Thread(target=lines.flush, args=[0.0])
    ended.start()
    ended.join(PATIENCE)
    assert not ended.is_alive()


def test_a_line_that_can_t_be_written_is_told_of_and_the_next_is_tried() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    lines, errors = lines_to(writer)
    lines.put("one")
    lines.put("two")
    lines.flush(time.monotonic() + PATIENCE)
    assert [type(error) for error in errors] == [BrokenPipeError] * 2
    os.close(writer)


def test_what_ends_a_thread_goes_into_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", _log_failure)
    thread = threading.Thread(target=lambda: [][0], name="hub one")
    thread.start()
    thread.join(PATIENCE)
    assert caplog.messages == ["the thread 'hub one' has failed"]
    assert "IndexError" in caplog.text


def test_what_threads_write_at_once_is_all_there() -> None:
    put: list[str] = []
    lines = SimpleNamespace(put=put.append, put_piece=put.append)
    stream = Stream(lines, sys.stderr)  # type: ignore[arg-type]

    def write() -> None:
        for _ in range(20_000):
            stream.write("xy")
            stream.write("z\n")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    finally:
        sys.setswitchinterval(interval)
    stream.flush()
    text = "".join(put)
    assert [text.count(one) for one in "xyz"] == [80_000] * 3
