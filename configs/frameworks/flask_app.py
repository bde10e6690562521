"""Users by HTTP, with Flask under gunicorn: one client for all workers, whatever their class.

    gunicorn --chdir configs/frameworks flask_app:app --workers 2
    gunicorn --chdir configs/frameworks flask_app:app --worker-class gthread --threads 8
    gunicorn --chdir configs/frameworks flask_app:app --worker-class gevent

A client may be made before gunicorn forks, and used by any number of threads and greenlets after it.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, abort, stream_with_context

import mesh

app = Flask(__name__)
users = mesh.connect("users", timeout=5)


@app.get("/users/<int:number>")
def user(number: int) -> dict[str, Any]:
    try:
        return users.get(number)  # type: ignore[no-any-return]  # what a remote method gives
    except KeyError:
        abort(404, f"there is no user {number}")
    except (mesh.TimeoutExpired, mesh.LostRemote, mesh.Overloaded) as exc:
        abort(503, str(exc))


@app.get("/users")
def export() -> Response:
    lines = (f"{row['number']} {row['name']}\n" for row in users.export())
    return Response(stream_with_context(lines), mimetype="text/plain")
