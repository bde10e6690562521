"""Errors and times of remote calls in Sentry, in one trace from caller to server.

    mesh.connect("users", middleware=[sentry.client])
    mesh.Server(Users(), middleware=[sentry.server])

`sentry_sdk.init(…)` is the program's own, as ever.
"""

from __future__ import annotations

from typing import Any

import sentry_sdk


def client(call: Any, proceed: Any) -> Any:
    with sentry_sdk.start_span(op="rpc.client", name=f"{call.service}.{call.method}"):
        call.headers.update(sentry_sdk.get_current_scope().iter_trace_propagation_headers())
        return proceed(call)


def server(call: Any, proceed: Any) -> Any:
    with sentry_sdk.isolation_scope() as scope:
        name = f"{call.service}.{call.method}"
        scope.set_tag("mesh.peer", call.peer)
        transaction = sentry_sdk.continue_trace(call.headers, op="rpc.server", name=name)
        with sentry_sdk.start_transaction(transaction):
            try:
                return proceed(call)
            except Exception as exc:
                sentry_sdk.capture_exception(exc)
                raise
