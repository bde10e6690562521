"""What becomes of the mistakes in a file: the first ends its reading, or all are found.

A reader puts `with mistakes:` around each part that can be read whatever is wrong with the others.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

from mesh.errors import ConfigError


class Mistake(ConfigError):
    """where: the file, with its line and key where they are known. line: from 1, 0 where it is not known."""

    def __init__(self, problem: str, where: str = "", line: int = 0) -> None:
        super().__init__(f"{where}: {problem}" if where else problem)
        self.problem = problem
        self.where = where
        self.line = line


class Told(Mistake):
    """Ends the reading of a part that can't be used, of which all that is wrong has been told."""

    def __init__(self) -> None:
        super().__init__("is wrong, as was told")


class Mistakes:
    """keep: all are to be found; else the first is raised, as whoever uses the file wants it."""

    def __init__(self, keep: bool = False) -> None:
        self.keep = keep
        self.found: list[Mistake] = []
        self.count = 0
        """Of what was found, and of parts that ended for it."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not self.keep or not isinstance(error, Mistake):
            return False
        self.count += 1
        if not isinstance(error, Told):
            self.found.append(error)
        return True

    def end_part(self, before: int) -> None:
        """Raise Told where there are more than before, and so in this part: it is used as a whole or not."""
        if self.count > before:
            raise Told


RAISED: Final = Mistakes()
"""For whoever uses a file."""
