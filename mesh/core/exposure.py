"""Which attributes of a module, object, class or dict are exposed as methods, and why others are not.

What mesh itself has a program hold, such as a client of another service, is never exposed: whoever may
call the one service must not thereby call the other. Such a class says so by a class attribute, so that
this layer need not know it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import _lru_cache_wrapper, partial, partialmethod, singledispatchmethod
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any, Final, NamedTuple, cast

from mesh.errors import text_of

Function = Callable[..., Any]

UNEXPOSED: Final = "__mesh_unexposed__"
"""The class attribute of what is never exposed: what it is, as in "a client of another service"."""
SERVED: Final = frozenset({"mesh.tracing.collector"})
"""Modules of mesh itself whose functions are there to be called by others."""
MAX_WRAPPED: Final = 20
"""Callables within callables that are looked at."""
_VALUES = (str, bytes, int, float, complex, list, tuple, set, frozenset, type(None))
_NOTHING: Final = object()
_MRO: Final[Any] = vars(type)["__mro__"]
_VARS: Final[Any] = vars(type)["__dict__"]
"""A class's own, whatever its metaclass makes of these names."""
_PLAIN_DESCRIPTORS = (classmethod, staticmethod, partialmethod, singledispatchmethod, MemberDescriptorType)


class LeftOut(NamedTuple):
    """An attribute with a public name that is not exposed.

    why: goes on after the name, as in "is a class". usual: whoever has written the target does not
    take it for a method.
    """

    why: str
    usual: bool = False


_A_CLASS: Final = LeftOut("is a class", usual=True)
_COMPUTED: Final = LeftOut("is a property, or computed like one, when it is looked at", usual=True)

Look = Callable[[str], Function | LeftOut | None]
"""Gives what is to be exposed by a name, or why it is not; None for what nobody could call."""


class Exposed:
    """What is exposed of a target.

    name: what the target calls itself. functions: by the names of the methods. hidden: the names that
    could not be looked at, each with what that raised. left_out: what else is not exposed, by name.
    Raises ValueError for a target of which nothing could be.
    """

    def __init__(self, target: Any) -> None:
        self.functions: dict[str, Function] = {}
        self.hidden: dict[str, str] = {}
        self.left_out: dict[str, LeftOut] = {}
        _check(target)
        if inspect.isclass(target):
            target = made(target)
        self.name = _name_of(target)
        if isinstance(target, dict):
            self.functions.update(_of_dict(target))
        elif isinstance(target, ModuleType):
            listed = _all_of(target)
            self._choose(_dir_of(target) if listed is None else listed, _look_in_module(target, listed))
        else:
            self._choose(_dir_of(target), _look_in_object(target))

    def _choose(self, names: Iterable[str], look: Look) -> None:
        for name in names:
            if name.startswith("_"):
                continue
            try:
                found = look(name)
            except Exception as exc:  # noqa: BLE001 - it is code of the target's own
                self.hidden[name] = _said(exc)
                continue
            if isinstance(found, LeftOut):
                self.left_out[name] = found
            elif found is not None:
                self.functions[name] = found


def _check(target: Any) -> None:
    try:
        value = isinstance(target, _VALUES)
    except Exception as exc:
        raise ValueError(f"to look at a {type(target).__name__} raised {_said(exc)}") from exc
    if value:
        raise ValueError(
            f"{target!r:.80} is a value; give a module, an object, a class or a dict of functions"
        )
    what = unexposed(target)
    if what is not None:
        raise ValueError(
            f"what is to be exposed {what}, and that is never exposed: write an object whose methods call it"
        )


def made(target: type) -> Any:
    """An object of a class. Raises ValueError where it can't be made without arguments, or not at all."""
    try:
        return target()
    except TypeError as exc:
        raise ValueError(
            f"{target.__name__} can't be made without arguments ({exc}); give an object of it"
        ) from exc
    except Exception as exc:
        raise ValueError(f"to make a {target.__name__} raised {_said(exc)}") from exc


def _said(exc: Exception) -> str:
    """What code of the target's own raised, and where."""
    last = exc.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    file = last.tb_frame.f_code.co_filename if last is not None else __file__
    where = f" at {file}:{last.tb_lineno}" if last is not None and file != __file__ else ""
    said = f"{type(exc).__name__}: {text_of(exc):.200}{where}"
    return said.encode("utf-8", "backslashreplace").decode()  # so that it travels


def read(target: Any, name: str) -> Any:
    """An attribute; None where there is none, or where to look at it raises."""
    try:
        return getattr(target, name, None)
    except Exception:  # noqa: BLE001 - it is code of the target's own
        return None


def _name_of(target: Any) -> str:
    if isinstance(target, dict):
        return "dict"
    name = read(target, "__name__")
    return name if isinstance(name, str) and name else type(target).__name__


# What is never exposed


def unexposed(value: Any) -> str | None:
    """What makes a value one that is never exposed, as in "is a client of another service"; else None.

    That is also what calls such a one: a method of it, be it in a partial or behind a cache.
    """
    waiting = [value]
    own = False
    for _ in range(MAX_WRAPPED):
        if not waiting:
            break
        one = waiting.pop()
        what = _mark_of(one)
        if what is not None:
            return f"is {what}" if one is value else f"calls {what}"
        own = own or _is_of_mesh(one)
        waiting += _wrapped_in(one)
    return "is a function of mesh itself" if own else None


def _is_of_mesh(value: Any) -> bool:
    """Whether it is a function of mesh's own, such as `connect`, or a client's method by itself."""
    home = read(value, "__module__") if type(value) is FunctionType else None
    return isinstance(home, str) and (home == "mesh" or home.startswith("mesh.")) and home not in SERVED


def _mark_of(value: Any) -> str | None:
    kind = type(value)
    if kind is FunctionType:
        return None
    # What passes for another's, such as a weakref.proxy, has that one's __class__.
    passes_for = read(value, "__class__")
    kinds = [kind] if passes_for is kind else [kind, passes_for]
    for cls in (*kinds, value):
        if issubclass(type(cls), type):
            # Not asked of the value or its class, which may have an attribute of any name.
            marks = (_VARS.__get__(base).get(UNEXPOSED) for base in _MRO.__get__(cls))
            mark = next((mark for mark in marks if isinstance(mark, str)), None)
            if mark is not None:
                return mark
    return None


def _wrapped_in(value: Any) -> list[Any]:
    """What a callable calls, as far as the standard library's own wrappers tell."""
    kind = type(value)
    if kind is MethodType:
        return [value.__self__, value.__func__]
    if issubclass(kind, (partial, partialmethod, singledispatchmethod)):
        return [value.func]
    if issubclass(kind, (staticmethod, classmethod, _lru_cache_wrapper)):
        return [value.__wrapped__]
    return []


# Dicts


def _of_dict(target: dict[Any, Any]) -> dict[str, Function]:
    for name, function in target.items():
        if not isinstance(name, str) or not callable(function):
            raise ValueError(f"{name!r} is no name of a callable; a dict must map names to callables")
        what = unexposed(function)
        if what is not None:
            raise ValueError(
                f"{name!r} {what}, and that is never exposed: write a function of your own that calls it"
            )
    return {name: function for name, function in target.items() if not name.startswith("_")}


# Modules


def _look_in_module(module: ModuleType, listed: list[str] | None) -> Look:
    """What `__all__` names, else the functions that the module itself defines."""
    # What is not written in Python imports nothing; but gevent may have put functions into it.
    all_own = listed is not None or not str(read(module, "__file__")).endswith((".py", ".pyc"))

    def look(name: str) -> Function | LeftOut | None:
        value = getattr(module, name, None)
        if inspect.isclass(value):
            return _A_CLASS
        if not callable(value):
            return None
        what = unexposed(value)
        if what is not None:
            return LeftOut(what, usual=listed is None)
        home = str(getattr(value, "__module__", None) or module.__name__)
        if all_own or home.lstrip("_") == module.__name__.lstrip("_"):
            return cast(Function, value)
        return LeftOut(f"comes from {home}, and there is no __all__ that names it", usual=True)

    return look


def _all_of(module: ModuleType) -> list[str] | None:
    """The names in `__all__`, None where there is none. Raises ValueError for what is no list of names."""
    try:
        listed = getattr(module, "__all__", None)
        names = [] if listed is None else list(listed)
    except Exception as exc:
        raise ValueError(f"to look at the __all__ of {module.__name__} raised {_said(exc)}") from exc
    wrong = [listed] if isinstance(listed, str) else [name for name in names if not isinstance(name, str)]
    if wrong:
        raise ValueError(
            f"the __all__ of {module.__name__} must be a list of names, {wrong[0]!r:.80} is none"
        )
    return None if listed is None else sorted(set(names))


def _dir_of(target: Any) -> list[str]:
    name = target.__name__ if isinstance(target, ModuleType) else type(target).__name__
    try:
        names = dir(target)
    except Exception as exc:
        raise ValueError(f"to list what {name} has (its __dir__) raised {_said(exc)}") from exc
    for one in names:
        if not isinstance(one, str):
            raise ValueError(f"the __dir__ of {name} must give names, {one!r:.80} is none")
    return names


# Objects


def _look_in_object(target: Any) -> Look:
    """The public callables of its class, and what the object itself keeps of functions and own methods."""

    def look(name: str) -> Function | LeftOut | None:
        static = inspect.getattr_static(target, name, _NOTHING)
        if inspect.isclass(static):
            return _A_CLASS
        if _is_computed(static):
            return _COMPUTED
        what = unexposed(static)
        value = None if what else getattr(target, name, None)
        what = what or unexposed(value)
        if what is not None:
            return LeftOut(what)
        if inspect.isclass(value):
            return _A_CLASS
        if not callable(value):
            return None
        if _is_kept(target, name, static) and not _is_own(target, value):
            return LeftOut(
                f"is a {type(value).__name__} that the object keeps; of what it keeps only functions and its "
                "own methods are exposed"
            )
        return cast(Function, value)

    return look


def _is_computed(static: Any) -> bool:
    """Whether to look at an attribute would run code: a property, and all that works like one."""
    return (
        hasattr(type(static), "__get__")
        and not callable(static)
        and not isinstance(static, _PLAIN_DESCRIPTORS)
    )


def _is_kept(target: Any, name: str, static: Any) -> bool:
    """Whether the object itself has the attribute, be it in a slot, and not its class."""
    if static is _NOTHING:
        return False  # its __getattr__ gives it, which is written for that
    if type(static) is MemberDescriptorType:
        return True
    owner = next((cls for cls in type(target).__mro__ if name in vars(cls)), None)
    return owner is None or vars(owner)[name] is not static


def _is_own(target: Any, value: Any) -> bool:
    """Whether it is a plain function, or a bound method of the object or of its class."""
    kind = type(value)
    if kind is FunctionType:
        return True
    if kind is not MethodType and kind is not BuiltinFunctionType:
        return False
    bound_to = value.__self__
    if kind is BuiltinFunctionType and (bound_to is None or isinstance(bound_to, ModuleType)):
        return True
    return bound_to is target or any(bound_to is cls for cls in type(target).__mro__)
