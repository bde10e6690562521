"""A call of a client for asyncio, from when it is written down to when it is awaited."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Coroutine, Generator
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import ref

from mesh.aio.stream import Stream


class RemoteCall(Coroutine[Any, Any, Any]):
    """A call that is still to be made: await it, make a task of it, or go through it by `async for`; once.

    The request goes out with the first step, as that of any coroutine. What is done with it in the belief
    that it were the answer already raises TypeError, and it is never made.
    """

    __slots__ = ("_coroutine", "_method", "_stream")
    __mesh_unexposed__ = "a call of another service"

    def __init__(self, coroutine: Coroutine[Any, Any, Any], method: str) -> None:
        self._coroutine = coroutine
        self._method = method
        self._stream: ref[Stream] | None = None
        """The one that goes through it; it ends when nobody has it any more."""
        # What Python says of one that is never awaited, which is easily forgotten, names it so.
        coroutine.__qualname__ = method  # type: ignore[attr-defined]  # coroutines of Python have it

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._begun()

    def _begun(self) -> Stream:
        stream = Stream.of(self._coroutine, self._method)
        self._stream = ref(stream)
        return stream

    async def __aenter__(self) -> Stream:
        """The stream that it gives, which is left at the end of `async with`; TypeError where it is none."""
        stream = self._begun()
        await stream.begun()
        return stream

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Leave the stream that it gives, as contextlib.aclosing does; or never make the call."""
        stream = None if self._stream is None else self._stream()
        if stream is None:
            self.close()
        else:
            await stream.aclose()

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *args: Any) -> Any:
        return self._coroutine.throw(*args)

    def close(self) -> None:
        self._coroutine.close()

    def __repr__(self) -> str:
        return f"<call of {self._method!r:.80}, to be awaited>"

    if not TYPE_CHECKING:  # a checker knows by itself what a coroutine does not have

        def __getattr__(self, name: str) -> Any:
            # What debuggers, and asyncio in its debug mode, ask a coroutine for.
            if name in ("__name__", "__qualname__") or name.startswith("cr_"):
                return getattr(self._coroutine, name)
            if name.startswith("_"):
                raise AttributeError(f"a call that is to be awaited has no {name!r}")
            raise AttributeError(self._unawaited(f", which has no {name!r:.80}"))

        def _unawaited(self, what: str = "") -> str:
            method = self._method
            call = f"client.{method:.80}(…)" if method.isidentifier() else f"client({method!r:.80}, …)"
            return f"this is the call of {method!r:.80}, not yet its answer{what}: write `(await {call})`"

        def _forgotten(self, *_: Any) -> NoReturn:
            """Its answer was meant."""
            self._coroutine.close()  # nothing is to be said of that, too
            raise TypeError(self._unawaited())

        def __iter__(self) -> NoReturn:
            # It stays as it is: Django asks in this way whether something is to be gone through by `for`.
            raise TypeError(
                f"the call of {self._method!r:.80} is for asyncio: go through a stream by `async for`, and "
                "through a list by `for … in await …`"
            )

        def __bool__(self) -> bool:
            # Python's asyncio (from 3.14 on) looks so whether a task that it shows has a coroutine.
            if not str(sys._getframe(1).f_globals.get("__name__")).startswith("asyncio."):
                self._forgotten()
            return True

        __enter__ = __exit__ = _forgotten
        __len__ = __getitem__ = __contains__ = __int__ = __float__ = __index__ = _forgotten
        __lt__ = __le__ = __gt__ = __ge__ = __neg__ = __abs__ = _forgotten
        __add__ = __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = _forgotten
        __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rpow__ = _forgotten
        __and__ = __or__ = __xor__ = __rand__ = __ror__ = __rxor__ = _forgotten
