"""What there is once in a process, on both sides of a fork."""

from __future__ import annotations

import os
import sys

from tests.helpers.processes import python

PROGRAM = """
import os, sys
from mesh.transport import process

class Told:
    def __init__(self, fails):
        self.fails, self.told = fails, 0
        process.remember(self)

    def forked(self):
        self.told += 1
        if self.fails:
            raise self.fails

told = [Told(fails) for fails in (None, ValueError("one"), None, KeyboardInterrupt("two"), None) * 5]
if os.fork() == 0:
    os._exit([one.told for one in told] == [1] * len(told) and process.generation() == 1)
print("all told" if os.waitstatus_to_exitcode(os.wait()[1]) == 1 else "not all told")
"""


def test_one_that_can_not_take_a_fork_keeps_no_other_from_hearing_of_it(tmp_path: object) -> None:
    path = os.pathsep.join(filter(None, sys.path))
    script = f"{tmp_path}/program.py"
    with open(script, "w") as file:
        file.write(PROGRAM)
    with python(script, env={"PYTHONPATH": path}) as program:
        assert program.wait() == 0, program.describe()
        assert program.stdout == "all told\n"
        assert program.stderr.count("ValueError: one") == program.stderr.count("KeyboardInterrupt: two") == 5


PATCHED_CHILD = """
import os, threading
if os.fork() == 0:
    from gevent import monkey
    monkey.patch_all()
    import gevent
    from mesh.transport import process
    elsewhere = gevent.get_hub().threadpool.apply(process.in_main_thread)
    os._exit(process.in_main_thread() and not elsewhere)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_the_main_thread_of_a_child_that_is_patched_after_the_fork(tmp_path: object) -> None:
    script = f"{tmp_path}/program.py"
    with open(script, "w") as file:
        file.write(PATCHED_CHILD)
    with python(script, env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}) as program:
        assert (program.wait(), program.stdout) == (0, "1\n"), program.describe()
