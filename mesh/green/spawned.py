"""Greenlets that are spawned within a trace belong to it: gevent begins each with an empty context.

So do those of gevent's pools, and the threads of a program that gevent has patched; each of these Python,
from 3.14 on, runs in a context of its own.
"""

from __future__ import annotations

import threading
from contextvars import Context
from typing import Any

import gevent

from mesh.core.span import bound, current_span, within


def _inherit(spawned: Any) -> None:
    span = current_span()
    if span is None:
        return
    if not spawned.gr_context:
        spawned.gr_context = within(span)
    thread = getattr(spawned._run, "__self__", None)
    context = getattr(thread, "_context", None) if isinstance(thread, threading.Thread) else None
    if isinstance(context, Context) and context.get(bound) is None:
        context.run(bound.set, span)


gevent.Greenlet.add_spawn_callback(_inherit)
