"""The tasks that carry out a server's calls, and the plain functions that need none.

A plain function runs at once, in the loop, or in a native thread where the server has such; a coroutine, and
whatever is a stream, in a task of its own. What is decided about handlers is mesh/transport/handlers.py's.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from time import monotonic
from types import FrameType
from typing import Any, Final

from mesh.aio import items, parked
from mesh.aio.items import AsyncItems, Items, ThreadItems
from mesh.aio.loop import AsyncioLoop
from mesh.aio.runnable import quietly
from mesh.aio.waiter import Waiter, wake
from mesh.core.cork import QUICK
from mesh.core.methods import is_async, is_stream
from mesh.core.middleware import CallContext, begin_handler
from mesh.core.server_session import ServerCall, ServerSession
from mesh.core.slots import Slots
from mesh.core.unfinished import Running
from mesh.transport import process, thread_items
from mesh.transport.handler_places import tell_places
from mesh.transport.handlers import PLAIN, Handlers, ends_process, goes_on, keywords
from mesh.transport.nested_calls import end_nested
from mesh.transport.pump import FAIR
from mesh.transport.server_endpoint import ServerEndpoint
from mesh.transport.thread_items import END
from mesh.transport.thread_pool import Outcome, Task, ThreadPlaces, ThreadPool, outcome_of

LOOK_EVERY: Final = 8
"""Items after which a stream looks whether its turn is over, and others are to run."""
CROWDED: Final = 0.01
"""Seconds between two looks whether a hub has read what streams have sent."""
EAGER: Final = sys.version_info >= (3, 12)
"""Whether Python begins a task at once, where it is asked to."""
_QUIET: Final = (asyncio.CancelledError, GeneratorExit)
"""What a handler ends with when its caller has gone."""
AnyItems = Items | AsyncItems | ThreadItems


class Workers:
    """Carries out the calls of one server endpoint.

    slots: how many handlers run. threads: native threads in which plain functions run, 0 for the loop's own;
    a stream that waits for credit is in none.
    """

    def __init__(self, handlers: Handlers, slots: Slots, threads: int) -> None:
        self._handlers = handlers
        self._functions = handlers.functions
        self._quick = handlers.quick
        calling = (Workers._carry_out, Workers._run, Workers._in_task, Workers._proceed, outcome_of)
        handlers.called_by(calling, _QUIET, (items.__file__, thread_items.__file__))
        handlers.surround(self._proceed)
        self._slots = slots
        self._threads = threads
        exposed = handlers.methods.exposed
        self._coroutines = {name for name, function in exposed.items() if is_async(function)}
        functions = self._functions
        self._surrounded = {name for name, function in exposed.items() if functions[name] is not function}
        """Those with middleware around them, which makes them coroutines."""
        self._async = self._coroutines | self._surrounded
        self._threaded = set(exposed) - self._async if threads else set()
        self._pool: ThreadPool | None = None
        self._places: ThreadPlaces | None = None
        self._ahead: Waiter | None = None
        """Of the task that was made for the next call."""
        self._at_once = self._alone = False
        """Whether tasks may begin in the turn that has brought their calls, and whether that was one call."""
        self._tasks: dict[ServerCall, asyncio.Task[None]] = {}
        """Those that have begun, and end by being cancelled."""
        self._uncancelled: set[asyncio.Task[None]] = set()
        """Streams from native threads, which nothing can interrupt."""
        self._endpoint: ServerEndpoint
        self._session: ServerSession
        self._loop: AsyncioLoop
        self._closed = False
        self._idle: asyncio.Future[None] | None = None

    def start(self, loop: AsyncioLoop, endpoint: ServerEndpoint) -> None:
        self._loop, self._endpoint, self._session = loop, endpoint, endpoint.session
        self._generation = process.generation()
        endpoint.blocked_in = self._blocked_in
        tell_places(self._handlers, endpoint, lambda: parked.stacks(self.tasks()))
        if self._threads:
            self._pool = ThreadPool(self._threads, loop)
            self._places = ThreadPlaces(self._slots, endpoint, loop)
        endpoint.start(loop, self._on_ready, self._on_resume, wakes_later=True)

    def close(self) -> None:
        """Begin nothing more, and let go of the threads."""
        self._closed = True
        if self._pool is not None:
            self._pool.close()
        if self._places is not None:
            self._places.close()
        if self._ahead is not None:
            self._ahead.wake(later=True)

    def tasks(self) -> list[asyncio.Task[None]]:
        """Those that carry out calls."""
        return [*self._tasks.values(), *self._uncancelled]

    def going_on(self) -> list[Running]:
        """The handlers that could be cancelled. From any thread, as ServerEndpoint.running."""
        now = monotonic()
        return [(call.method, now - call.opened, "") for call in list(self._tasks)]

    async def wait_idle(self, timeout: float) -> None:
        """Wait until no handler runs and no call waits, for at most `timeout` seconds."""
        if self._slots.running or self._session.ready:
            self._idle = self._loop.loop.create_future()
            await asyncio.wait((self._idle,), timeout=timeout)
            self._idle = None
        else:
            await asyncio.sleep(timeout)

    def _blocked_in(self, frame: FrameType | None) -> str:
        """Whose handler runs in this frame of the loop's thread."""
        return self._handlers.running_in(frame) or f"a task beside {self._handlers.methods.name}"

    # In the loop

    def _on_ready(self) -> None:
        """Begin what is ready, as far as the pool allows."""
        ready, slots, quick = self._session.ready, self._slots, self._quick
        if not ready:
            return
        self._at_once = self._loop.steps_tasks()
        self._alone = len(ready) == 1
        now = monotonic()
        slice_end = now + FAIR
        while ready and slots.running < slots.limit and not self._closed:
            if now > slice_end:
                self._endpoint.go_on_later()
                break
            call, began = ready.popleft(), now
            self._next(call, now)
            now = monotonic()
            if (now - began < QUICK) is not (call.method in quick):
                self._handlers.note_speed(call.method)
        if self._ahead is None and self._async and self._at_once and not EAGER:
            self._make_ahead()

    def _next(self, call: ServerCall, now: float) -> None:
        method = call.method
        if not self._endpoint.begin(call, now, method in self._quick):
            return
        self._slots.running += 1
        if method in self._async:
            self._begin_coroutine(call)
        elif method in self._threaded:
            self._begin_in_thread(call)
        else:
            context = self._handlers.context()
            context.run(self._run, call, context)

    def _begin_coroutine(self, call: ServerCall) -> None:
        """Have a task carry it out, to its first wait at once where it can: many handlers have none."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and not ahead.done:
            ahead.value = call
            # The answers of several go in one frame: none is to come long before the others.
            ahead.wake(later=not (self._at_once and self._alone))
        else:
            coroutine = self._in_task(call, self._functions[call.method], None)
            self._begin_task(coroutine, self._handlers.context(), eager=self._at_once and EAGER)

    def _make_ahead(self) -> None:
        """Make the task of the next call, where Python can't begin one at once; it waits for that call.

        It comes to wait when the tasks have begun that were made before, so that no call overtakes another.
        """
        loop = self._loop.loop
        if loop.get_task_factory() is None and not self._closed:
            self._ahead = Waiter(loop)
            self._begin_task(self._in_task_ahead(self._ahead), self._handlers.context(), eager=False)

    async def _in_task_ahead(self, coming: Waiter) -> None:
        """Carry out the call that this is woken with; None at the server's end."""
        call = await coming
        if call is not None:
            await self._in_task(call, self._functions[call.method], None)

    def _begin_task(
        self, carried_out: Coroutine[Any, Any, None], context: Context, eager: bool = EAGER
    ) -> None:
        loop = self._loop.loop
        if loop.get_task_factory() is not None:
            task = loop.create_task(carried_out, context=context)
        elif eager:
            # To its first wait in this turn: many have none.
            task = asyncio.Task(carried_out, loop=loop, context=context, eager_start=True)  # type: ignore[call-arg,unused-ignore]  # of Python 3.12 and later
        else:
            task = asyncio.Task(carried_out, loop=loop, context=context)
        if not task.done():
            quietly(task)

    def _on_resume(self, calls: list[ServerCall]) -> None:
        """These streams have credit again, or nobody wants these calls any more."""
        for call in calls:
            if call.waiter is None and call.given_up and call in self._tasks:
                self._tasks[call].cancel()
            elif call.waiter is None and call.given_up and call.nested:
                end_nested(call)
        wake(self._loop, calls)

    def _ended(self, call: ServerCall) -> None:
        """Its handler has come to its end."""
        self._slots.running -= 1
        if call.given_up:
            self._endpoint.ended(call)
        if self._session.ready:
            self._endpoint.go_on()
        elif self._idle is not None and not self._slots.running and not self._idle.done():
            self._idle.set_result(None)

    def _failed(self, call: ServerCall, exc: BaseException) -> None:
        if call.given_up and process.generation() != self._generation:
            process.leave(exc)  # it has forked this process, whose loop is the parent's
        self._handlers.fail(self._endpoint, call, exc)
        if ends_process(exc):
            raise exc

    def _ended_by(self, call: ServerCall, exc: BaseException) -> None:
        """Its handler has raised. Raises only what must end the process."""
        try:
            self._failed(call, exc)
        finally:
            self._ended(call)

    # Plain functions

    def _run(self, call: ServerCall, context: Context) -> None:
        """Call the handler here and now, and send what comes of it. Raises only what must end the process."""
        begin_handler(call)
        function = self._functions[call.method]
        try:
            kwargs = call.header.get("kwargs")
            result = function(*call.args) if kwargs is None else function(*call.args, **keywords(kwargs))
            if type(result) in PLAIN and not is_stream(function):
                self._endpoint.answer(call, result)
            elif goes_on(result, function):
                # Not eagerly: this is in that context, and none is entered twice.
                self._begin_task(self._in_task(call, function, result), context, eager=False)
                return
            else:
                self._endpoint.answer(call, result)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the caller has an answer
            self._ended_by(call, exc)
            return
        if call.given_up and process.generation() != self._generation:
            process.leave(None)
        self._ended(call)

    def _begin_in_thread(self, call: ServerCall) -> None:
        """Call the handler in a native thread, and send what comes of it."""
        assert self._pool is not None
        function = self._functions[call.method]
        context = self._handlers.context()
        context.run(begin_handler, call)
        try:
            called = partial(function, *call.args, **keywords(call.header.get("kwargs")))
        except TypeError as exc:
            self._ended_by(call, exc)
            return
        done = partial(self._thread_ended, call, function, context)
        try:
            self._pool.submit(Task(partial(outcome_of, context, called), done))
        except RuntimeError as exc:  # the system has no thread
            self._ended_by(call, exc)

    def _thread_ended(
        self, call: ServerCall, function: Callable[..., Any], context: Context, outcome: Outcome
    ) -> None:
        result, error = outcome
        try:
            if error is not None:
                raise error
            if goes_on(result, function):
                in_thread = not (hasattr(type(result), "__await__") or hasattr(type(result), "__aiter__"))
                of_thread = context if in_thread else None
                # The task has one of its own: no context is entered twice at a time.
                self._begin_task(self._in_task(call, function, result, of_thread), self._handlers.context())
                return
            self._endpoint.answer(call, result)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the caller has an answer
            self._ended_by(call, exc)
            return
        self._ended(call)

    async def _proceed(self, call: CallContext) -> Any:
        """What comes after the last middleware: a value, or the iterator of a stream."""
        function = self._handlers.of(call)
        if self._threads and not is_async(function):
            called = partial(function, *call.args, **call.kwargs)
            result = await self._thread_call(copy_context(), called)
        else:
            result = function(*call.args, **call.kwargs)
        if hasattr(type(result), "__await__"):
            result = await result
        return iter(result) if is_stream(function) and not hasattr(type(result), "__aiter__") else result

    async def _thread_call(self, context: Context, function: Callable[..., Any], *args: Any) -> Any:
        """As function(*args), in a native thread and in this context, which is not the task's own."""
        assert self._pool is not None
        if self._pool.closed:
            raise asyncio.CancelledError
        waiter: asyncio.Future[Outcome] = self._loop.loop.create_future()
        done = partial(_set_result, waiter)
        task = Task(partial(outcome_of, context, partial(function, *args)), done)
        self._pool.submit(task)
        try:
            value, error = await waiter
        finally:
            task.done = None
        if error is not None:
            raise error
        return value

    # In a task

    async def _in_task(
        self, call: ServerCall, function: Callable[..., Any], result: Any, context: Context | None = None
    ) -> None:
        """Carry out a coroutine, or what a handler has given that takes its time.

        result: None where the handler was not called yet. context: that of a stream in native threads, which
        nothing can interrupt. Raises only what must end the process.
        """
        task = asyncio.current_task()
        assert task is not None
        begin_handler(call)
        if context is None:
            self._tasks[call] = task
        else:
            self._uncancelled.add(task)
        try:
            if not call.given_up:
                await self._carry_out(call, function, result, context)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the caller has an answer
            if type(exc) is asyncio.CancelledError and task.cancelling() and not call.given_up:
                # By somebody else, as when the program's loop comes to its end: nothing is wrong with it.
                self._endpoint.fail(call, exc, "")
            else:
                self._failed(call, exc)
        finally:
            self._tasks.pop(call, None)
            self._uncancelled.discard(task)
            self._ended(call)

    async def _carry_out(
        self, call: ServerCall, function: Callable[..., Any], result: Any, context: Context | None
    ) -> None:
        if result is None:
            kwargs = call.header.get("kwargs")
            result = function(*call.args) if kwargs is None else function(*call.args, **keywords(kwargs))
        if hasattr(type(result), "__await__"):
            result = await result
        if call.given_up and process.generation() != self._generation:
            process.leave(None)
        if type(result) in PLAIN and not is_stream(function):
            self._endpoint.answer(call, result)
        elif hasattr(type(result), "__aiter__"):
            await self._stream(call, AsyncItems(result))
        elif is_stream(function) or hasattr(type(result), "__next__"):
            await self._stream(call, self._items(call, result, context))
        else:
            self._endpoint.answer(call, result)

    # Streams

    def _items(self, call: ServerCall, result: Any, context: Context | None) -> Items | ThreadItems:
        """Those of what works like a plain generator; in native threads where that is to run there."""
        if context is None and call.method in self._surrounded and call.method not in self._coroutines:
            context = copy_context() if self._threads else None
        if context is None:
            return Items(result)
        if (task := self._tasks.pop(call, None)) is not None:
            self._uncancelled.add(task)
        assert self._pool is not None
        return ThreadItems(result, call, context, self._pool, partial(self._thread_call, context))

    async def _stream(self, call: ServerCall, source: AnyItems) -> None:
        try:
            if await self._send_items(call, source):
                self._endpoint.end_stream(call)
        finally:
            await source.close()

    async def _send_items(self, call: ServerCall, source: AnyItems) -> bool:
        """Take an item where there is credit for it, and send it; False where nobody wants more."""
        endpoint = self._endpoint
        sent, turn_end = 0, monotonic() + FAIR
        while await self._has_credit(call, source.in_thread):
            value = await source.next()
            if value is END:
                return not call.given_up
            if not endpoint.item(call, value):
                return False
            sent += 1
            while endpoint.crowded(call) and not call.given_up:
                await asyncio.sleep(CROWDED)
            if sent % LOOK_EVERY == 0 and monotonic() > turn_end:
                await asyncio.sleep(0)
                turn_end = monotonic() + FAIR
        return False

    async def _has_credit(self, call: ServerCall, in_thread: bool) -> bool:
        """Wait until the caller takes another item; False where it is gone."""
        while call.credit <= 0 and not call.given_up:
            waiter = Waiter(self._loop.loop)
            if self._endpoint.waits(call, waiter):
                places = self._places if in_thread else None
                if places is not None:
                    places.lend(1)
                try:
                    await waiter
                finally:
                    call.waiter = None
                    if places is not None:
                        places.lend(-1)
        return not call.given_up


def _set_result(waiter: asyncio.Future[Outcome], outcome: Outcome) -> None:
    """Unless it was cancelled in this turn of the loop."""
    if not waiter.done():
        waiter.set_result(outcome)
