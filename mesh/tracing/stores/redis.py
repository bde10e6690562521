"""Traces in Redis, for when one machine is not enough: any number of collectors may use the same one.

Each trace is a list of its pieces, and each minute a list of blocks of summaries. Every key has a TTL, so
that Redis forgets by itself; how much it keeps at the most, its own `maxmemory` says. Scripts there put some
hundred pieces into their lists at once: to send two commands for each would cost a collector much more. Each
minute has a list of windows of rates as well.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from time import monotonic
from typing import Any, Final

from mesh.errors import ConfigError
from mesh.tracing.store import WINDOWS_TTL, Bounds, Size, StoreError
from mesh.tracing.summaries import with_prefix

PATIENCE: Final = 5.0
"""Seconds for an answer."""
PREFIX: Final = "mesh:"
MINUTE: Final = 60
BLOCKS: Final = 20
"""Blocks that are read at once."""
MOST_LOOKED_AT: Final = 500_000
AT_ONCE: Final = 300
"""Lists of one script, during which Redis answers nobody else: some half a millisecond."""
_APPEND: Final = """
if not redis.call('SET', KEYS[1], '', 'NX', 'EX', ARGV[1]) then
    return 0
end
local wrong = 0
for number = 2, #KEYS do
    local pushed = redis.pcall('RPUSH', KEYS[number], ARGV[number + 1])
    if type(pushed) == 'table' and pushed.err then
        if not string.find(pushed.err, 'WRONGTYPE') then
            return redis.error_reply(pushed.err)
        end
        wrong = wrong + 1
    else
        redis.call('EXPIRE', KEYS[number], ARGV[2])
    end
end
return wrong
"""
"""KEYS: what is known by that it was done already, and the lists. ARGV: seconds for which each of these is
kept, and a value for each list. Gives how many of the keys hold something else.
"""
DONE_FOR: Final = 600
"""Seconds in which a write that came, though nobody heard of that, is known when it comes once more."""
REMIND: Final = 60.0

log = logging.getLogger("mesh.collect")


class RedisStore:
    """url: redis://HOST:PORT/NUMBER. Raises ConfigError where redis-py is missing, or the url makes no sense;
    a Redis that isn't there yet is waited for.
    """

    def __init__(self, url: str, bounds: Bounds) -> None:
        try:
            import redis
        except ImportError:
            raise ConfigError(
                "--store redis://… needs redis-py, which is an extra: pip install 'zeromesh[redis]'"
            ) from None
        self._ttl = max(int(bounds.ttl), 1)
        self._error: type[Exception] = redis.RedisError
        try:
            self._redis: Any = redis.Redis.from_url(
                url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE
            )
        except ValueError as error:
            raise ConfigError(f"--store {url}: {error}") from None
        self._told_wrong = -REMIND
        self._identity = os.urandom(16)
        self._windows_read: dict[int, int] = {}
        """Minutes, and how many of their windows of rates were read."""
        self._append: Any = self._redis.register_script(_APPEND)
        where = self._redis.connection_pool.connection_kwargs
        self._where = (
            f"Redis at {where.get('host') or where.get('path', '?')}:{where.get('port', '')}".rstrip(":")
        )

    def write(self, pieces: Mapping[str, bytes], block: bytes, now: float) -> None:
        keys = [f"{PREFIX}trace:{trace_id}" for trace_id in pieces]
        keys.append(f"{PREFIX}minute:{int(now) // MINUTE}")
        values = [*pieces.values(), block]
        for at in range(0, len(keys), AT_ONCE):
            self._push(keys[at : at + AT_ONCE], values[at : at + AT_ONCE], self._ttl + MINUTE)

    def _push(self, keys: list[str], values: list[bytes], ttl: int) -> None:
        """Add to lists, once, also where it is tried again as nobody has heard that it was done."""
        traces = "".join(key for key in keys if key.startswith(f"{PREFIX}trace:"))  # others have the minute
        what = traces.encode("utf-8", "replace") + b"".join(values)
        hashed = blake2b(what, key=self._identity, digest_size=16).hexdigest()
        done = f"{PREFIX}done:{hashed}"
        try:
            wrong = self._append([done, *keys], [DONE_FOR, ttl, *values])
        except (self._error, OSError) as error:
            # Where it has no room, some of it may be there; nothing is gained by sending it all again.
            raise StoreError(self._why(error), lasting=_is_full(error)) from None
        if wrong and monotonic() - self._told_wrong >= REMIND:
            self._told_wrong = monotonic()
            log.error(
                "%s: keys that begin with %r hold what is no list; what belongs there is lost",
                self._where,
                PREFIX,
            )

    def _why(self, error: Exception) -> str:
        if _is_full(error):
            return f"{self._where} is full: raise its maxmemory, or lower --ttl"
        return f"{self._where}: {error}"

    def expire(self, now: float) -> None:
        """Redis does so by itself."""

    def pieces(self, trace_id: str) -> Iterator[bytes]:
        key, at = f"{PREFIX}trace:{trace_id}", 0
        while found := self._ask("lrange", key, at, at + 999):
            yield from found
            at += 1_000

    def find(self, prefix: str, limit: int) -> list[str]:
        if self._ask("exists", f"{PREFIX}trace:{prefix}"):
            return [prefix]
        return with_prefix(self.blocks(0.0), prefix, limit, MOST_LOOKED_AT)

    def blocks(self, since: float) -> Iterator[bytes]:
        (seconds, _) = self._ask("time")
        minute = int(seconds) // MINUTE + 1
        last = max(int(since), int(seconds) - self._ttl) // MINUTE - 1
        while minute >= last:
            # Many minutes may have nothing: they are asked for together.
            some = range(minute, max(minute - 60, last - 1), -1)
            pipeline = self._redis.pipeline(transaction=False)
            for one in some:
                pipeline.llen(f"{PREFIX}minute:{one}")
            try:
                lengths = pipeline.execute()
            except (self._error, OSError) as error:
                raise StoreError(self._why(error)) from None
            for one, length in zip(some, lengths, strict=True):
                yield from self._of_minute(one, length)
            minute = some[-1] - 1

    def _of_minute(self, minute: int, length: int) -> Iterator[bytes]:
        while length > 0:
            begin = max(length - BLOCKS, 0)
            yield from reversed(self._ask("lrange", f"{PREFIX}minute:{minute}", begin, length - 1))
            length = begin

    def put_window(self, window: bytes, now: float) -> None:
        (seconds, _) = self._ask("time")
        self._push([f"{PREFIX}windows:{int(seconds) // MINUTE}"], [window], WINDOWS_TTL + MINUTE)

    def windows(self, now: float) -> Iterator[bytes]:
        (seconds, _) = self._ask("time")
        this = int(seconds) // MINUTE
        oldest = this - WINDOWS_TTL // MINUTE
        for minute in range(max(max(self._windows_read, default=oldest), oldest), this + 1):
            self._windows_read.setdefault(minute, 0)
        for minute, read in sorted(self._windows_read.items()):
            for window in self._ask("lrange", f"{PREFIX}windows:{minute}", read, -1):
                self._windows_read[minute] += 1
                yield window
            if minute < this - 1:
                del self._windows_read[minute]  # nobody adds to it any more

    def size(self) -> Size:
        memory = self._ask("info", "memory")
        return Size(None, int(memory.get("used_memory", 0)))

    def _ask(self, command: str, *arguments: Any) -> Any:
        try:
            return getattr(self._redis, command)(*arguments)
        except (self._error, OSError) as error:
            raise StoreError(self._why(error)) from None

    def close(self) -> None:
        self._redis.close()


def _is_full(error: Exception) -> bool:
    return "maxmemory" in str(error)
