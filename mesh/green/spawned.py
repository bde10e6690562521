"""Greenlets that are spawned within a trace belong to it: gevent begins each with an empty context.

So do those of gevent's pools, and the threads of a program that gevent has patched.
"""

from __future__ import annotations

from typing import Any

import gevent

from mesh.core.span import current_span, within


def _inherit(spawned: Any) -> None:
    span = current_span()
    if span is not None and not spawned.gr_context:
        spawned.gr_context = within(span)


gevent.Greenlet.add_spawn_callback(_inherit)
