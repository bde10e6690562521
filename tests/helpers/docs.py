"""Runs what a page of documentation shows: files, shell sessions and Python programs.

A python or yaml block whose first line is a comment with a file name is written to that file. A
console block is typed into a shell: lines after `$ ` are commands, the others their standard
output, where … stands for anything; a command that ends with & goes on behind the rest. Another
python block is run as a program, and `expression  # → text` holds the expression to its repr.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.processes import Process

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"[$;|&<>*]")
"""What only a shell understands."""
FILE_NAME = re.compile(r"^# ([\w./-]+\.(?:py|yml))\n")
EXPECTED = re.compile(r"#\s*→\s*(.*)$")
TIMEOUT = 60.0


@dataclass
class Page:
    """One page, run in a folder of its own. port: what takes the place of port 4242."""

    path: Path
    folder: Path
    env: dict[str, str]
    port: str
    background: list[Process] = field(default_factory=list)

    def run(self) -> int:
        """Run all of it in order; how many blocks did something."""
        try:
            return sum(
                self._block(language, text.replace("4242", self.port)) for language, text in blocks(self.path)
            )
        finally:
            for process in self.background:
                process.close()

    def _block(self, language: str, text: str) -> bool:
        name = FILE_NAME.match(text)
        if name and language in ("python", "yaml"):
            (self.folder / name[1]).write_text(text)
        elif language == "python":
            self._program(text)
        elif language == "console":
            for command, output in commands(text):
                self._command(command, output)
        else:
            return False
        return True

    def _program(self, text: str) -> None:
        program = self.folder / "program.py"
        program.write_text(checked(text))
        with self._started([sys.executable, str(program)]) as process:
            assert process.wait(timeout=TIMEOUT) == 0, f"{self.path.name}:\n{text}\n{process.stderr}"

    def _command(self, command: str, output: list[str]) -> None:
        if command.endswith("&"):
            process = self._started(self._words(command[:-1]) or ["sh", "-c", "exec " + command[:-1]])
            self.background.append(process)
            for line in output:
                process.wait_for(re.escape(line), timeout=TIMEOUT)
            return
        with self._started(self._words(command) or ["sh", "-c", command]) as process:
            process.wait(timeout=TIMEOUT)
            seen, errors = process.stdout.rstrip("\n"), process.stderr
        expected = "\n".join(output)
        pattern = ".*".join(re.escape(part) for part in expected.split("…"))
        assert re.fullmatch(pattern, seen, re.DOTALL), (
            f"{self.path.name}: $ {command}\nexpected:\n{expected}\nseen:\n{seen}\n{errors}"
        )

    def _started(self, command: list[str]) -> Process:
        return Process(command, cwd=self.folder, env=self.env)

    def _words(self, command: str) -> list[str]:
        """What a shell would run, where that is a Python program alone: it is forked then. Else nothing."""
        name, *arguments = shlex.split(command)
        program = shutil.which(name, path=self.env["PATH"])
        if SHELL.search(command) or program is None:
            return []
        if name == "python":
            return [sys.executable, *arguments]
        return [sys.executable, program, *arguments] if name.startswith("mesh") else []


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a page that name a language, with it."""
    for match in BLOCK.finditer(path.read_text()):
        yield match[1], match[2]


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a console block and the lines that follow each."""
    command, output = "", list[str]()
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, output
            command, output = line[2:].strip(), []
        else:
            output.append(line)
    if command:
        yield command, output


def checked(text: str) -> str:
    """The program with an assertion in place of each expression that has an expected value."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Expr) or node.end_lineno is None:
            continue
        expected = EXPECTED.search(lines[node.end_lineno - 1])
        if expected:
            source = ast.get_source_segment(text, node) or ""
            indent = " " * node.col_offset
            value = expected[1].strip()
            lines[node.lineno - 1] = f"{indent}_seen = repr({source}); assert _seen == {value!r}, _seen"
    return "\n".join(lines)
