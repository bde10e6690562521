"""Users by HTTP, with FastAPI: one client a process, made and closed in `lifespan`.

uvicorn --app-dir configs/frameworks fastapi_app:app
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse

import mesh
import mesh.aio


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with mesh.aio.connect("users", timeout=5) as users:
        app.state.users = users
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/users/{number}")
async def user(number: int, request: Request) -> Any:
    try:
        return await request.app.state.users.get(number)
    except KeyError:
        raise HTTPException(404, f"there is no user {number}") from None
    except (mesh.TimeoutExpired, mesh.LostRemote, mesh.Overloaded) as exc:
        raise HTTPException(503, str(exc)) from exc


@app.get("/users")
async def export(request: Request) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        async for row in request.app.state.users.export():
            yield json.dumps(row) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")
