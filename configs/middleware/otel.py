"""Remote calls as spans of OpenTelemetry, in one trace from caller to server.

    mesh.connect("users", middleware=[otel.client])
    mesh.Server(Users(), middleware=[otel.server])

Which exporter the spans go to is the program's own setting, as ever.
"""

from __future__ import annotations

from typing import Any

from opentelemetry import propagate, trace

tracer = trace.get_tracer("mesh")


def client(call: Any, proceed: Any) -> Any:
    with _span(call, trace.SpanKind.CLIENT):
        propagate.inject(call.headers)
        return proceed(call)


def server(call: Any, proceed: Any) -> Any:
    with _span(call, trace.SpanKind.SERVER, propagate.extract(call.headers)):
        return proceed(call)


def _span(call: Any, kind: trace.SpanKind, parent: Any = None) -> Any:
    attributes = {"rpc.system": "zeromesh", "rpc.service": call.service, "rpc.method": call.method}
    name = f"{call.service}/{call.method}"
    return tracer.start_as_current_span(name, context=parent, kind=kind, attributes=attributes)
