"""A handler that computes, at no cost to the tests beside it.

Whoever computes in Python keeps its interpreter's lock, and lets another thread have it for a moment where
one has waited for the switch interval. So does a loop of these, only that each waits in C: no processor is
worn.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Final

compute_a_moment: Final[Callable[[], object]] = partial(ctypes.PyDLL(None).usleep, 1000)
"""Keeps the interpreter for a millisecond, a fifth of the switch interval, as PyDLL does not let it go.

It is C all the way down: whoever looks sees the line that calls it.
"""
