"""What is exposed of code that was not written for it, and how it is described."""

from __future__ import annotations

import functools
import json
import math
import re
import time
import types
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest

from mesh.core import methods
from mesh.core.methods import MethodTable, args_of, argspec_of, doc_of, is_stream, signature_of, stream
from tests.helpers.ids import shown


class Users:
    """Has one of each kind of attribute."""

    limit = 10
    Error = KeyError

    def __init__(self) -> None:
        self.callback = len
        self.number = 5
        self.looked = 0

    def get(self, user: int, deep: bool = False, *rest: str, key: str = "id", **more: Any) -> dict[str, Any]:
        """Find a user.

        Indented.
        """
        return {"user": user}

    @staticmethod
    def static(a: int) -> int:
        return a

    @classmethod
    def of_class(cls, a: int) -> str:
        return cls.__name__

    @property
    def tempting(self) -> Callable[[], int]:
        self.looked += 1
        return lambda: 1

    @functools.cached_property
    def cached(self) -> Callable[[], int]:
        self.looked += 1
        return lambda: 1

    @functools.lru_cache  # noqa: B019 - one instance
    def remembered(self, a: int) -> int:
        """Kept."""
        return a

    fixed = functools.partialmethod(get, 42)

    @functools.singledispatchmethod
    def by_type(self, a: object) -> str:
        return "object"

    def _hidden(self) -> None: ...
    def __dunder(self) -> None: ...


class Computed:
    """A descriptor that is no property."""

    def __get__(self, owner: Any, cls: type) -> Callable[[], None]:
        if owner is not None:
            owner.looked += 1
        return lambda: None


class Slotted:
    __slots__ = ("function", "looked", "unset")
    computed = Computed()

    def __init__(self) -> None:
        self.looked = 0
        self.function = len


def module(**names: Any) -> types.ModuleType:
    made = types.ModuleType("myapp.users")
    made.__file__ = "myapp/users.py"
    for name, value in names.items():
        setattr(made, name, value)
        if getattr(value, "__module__", None) == __name__:
            value.__module__ = "myapp.users"
    return made


class Wordless(Exception):
    def __str__(self) -> str:
        raise OSError


def raising(*_: Any) -> Any:
    raise RuntimeError("no")


class Raises:
    """A descriptor that looks like a method until it is asked for."""

    def __init__(self, exc: Exception) -> None:
        self.exc = exc

    def __get__(self, obj: object, owner: type | None = None) -> Any:
        raise self.exc

    def __call__(self) -> None: ...


class Touchy:
    touchy = Raises(LookupError("not now"))
    wordless = Raises(Wordless())

    def fine(self) -> int:
        return 1

    @property
    def broken(self) -> int:
        raise RuntimeError("a property is not looked at")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"{name}?")


class TestWhatIsExposed:
    def test_of_an_object(self) -> None:
        users = Users()
        exposed = MethodTable(users).exposed
        assert set(exposed) == {
            *("get", "static", "of_class", "callback", "remembered", "fixed", "by_type"),
        }
        assert users.looked == 0, "to look at a property runs its code"
        assert exposed["fixed"]() == {"user": 42} and exposed["of_class"](1) == "Users"

    def test_of_a_class_is_of_an_instance(self) -> None:
        table = MethodTable(Users)
        assert table.exposed["get"](7) == {"user": 7} and table.name == "Users"

    def test_what_raises_when_it_is_looked_at_is_left_out_and_told(self) -> None:
        table = MethodTable(Touchy())
        assert set(table.exposed) == {"fine"} and table.exposed["fine"]() == 1
        assert table.name == "Touchy"
        touchy, wordless = table.hidden.pop("touchy"), table.hidden.pop("wordless")
        assert re.fullmatch(rf"LookupError: not now at {re.escape(__file__)}:\d+", touchy)
        assert wordless.startswith("Wordless: (its text can't be had: OSError) at ")
        assert not table.hidden

    @pytest.mark.parametrize(
        ("made", "text"),
        [
            (
                lambda: type("Only", (), {"touchy": Raises(LookupError("not now"))})(),
                "'touchy' raised LookupError: not now",
            ),
            (
                lambda: type("Unlisted", (), {"__dir__": raising})(),
                "to list what Unlisted has (its __dir__) raised RuntimeError: no",
            ),
            (
                lambda: type("Numbered", (), {"__dir__": lambda _: [5]})(),
                "the __dir__ of Numbered must give names, 5 is none",
            ),
            (
                lambda: type("Closed", (), {"__getattribute__": raising})(),
                "to look at a Closed raised RuntimeError: no",
            ),
            (lambda: type("Unmade", (), {"__init__": raising}), "to make a Unmade raised RuntimeError: no"),
        ],
    )
    def test_where_that_leaves_nothing_it_says_so(self, made: Callable[[], Any], text: str) -> None:
        with pytest.raises(ValueError, match=re.escape(text)):
            MethodTable(made())

    def test_one_that_raises_in_a_module(self) -> None:
        lazy = module(own=lambda: 1, __all__=["own", "absent"])
        lazy.__getattr__ = raising  # type: ignore[method-assign]
        table = MethodTable(lazy)
        assert set(table.exposed) == {"own"} and set(table.hidden) == {"absent"}

    def test_of_an_object_with_slots(self) -> None:
        slotted = Slotted()
        assert set(MethodTable(slotted).exposed) == {"function"}
        assert slotted.looked == 0

    def test_of_a_dict(self) -> None:
        table = MethodTable({"add": lambda a, b: a + b, "_hidden": len, "len": len})
        assert set(table.exposed) == {"add", "len"} and table.name == "dict"

    @pytest.mark.parametrize("wrong", [{"a": 1}, {1: len}, {b"a": len}, {"a": None}])
    def test_a_dict_maps_names_to_callables(self, wrong: Any) -> None:
        with pytest.raises(ValueError, match="is no name of a callable"):
            MethodTable(wrong)

    def test_of_a_module_are_its_own_functions(self) -> None:
        def own(a: int) -> int:
            return a

        def _private() -> None: ...

        exposed = MethodTable(module(own=own, _private=_private, path=json.dumps, Cls=Users, value=5)).exposed
        assert set(exposed) == {"own"}

    def test_of_a_module_with_all_is_what_it_names(self) -> None:
        exposed = MethodTable(
            module(__all__=["dumps", "gone", "_x", "Users"], dumps=json.dumps, _x=len)
        ).exposed
        assert set(exposed) == {"dumps"}

    @pytest.mark.parametrize(
        ("target", "some"),
        [
            (math, {"sqrt", "hypot", "floor"}),
            (time, {"time", "sleep"}),
            (json, {"dumps", "loads"}),
            (urllib.parse, {"urlsplit", "quote"}),
        ],
    )
    def test_of_modules_of_the_standard_library(self, target: Any, some: set[str]) -> None:
        table = MethodTable(target)
        assert some <= set(table.exposed) and table.name == target.__name__
        assert not [name for name in table.exposed if name.startswith("_")]

    def test_of_a_module_that_is_not_written_in_python_is_all(self) -> None:
        native = types.ModuleType("native")
        native.put_there = Users.static  # type: ignore[attr-defined]
        assert set(MethodTable(native).exposed) == {"put_there"}

    @pytest.mark.parametrize("value", [[3, 1], "text", b"bytes", 5, 1j, (1,), {1}, None, True])
    def test_a_value_is_a_mistake(self, value: Any) -> None:
        with pytest.raises(ValueError, match="is a value; give a module, an object, a class or a dict"):
            MethodTable(value)

    def test_a_class_that_wants_arguments(self) -> None:
        class Wants:
            def __init__(self, a: int) -> None: ...
            def method(self) -> None: ...

        with pytest.raises(
            ValueError, match=r"Wants can't be made without arguments .*; give an object of it"
        ):
            MethodTable(Wants)
        assert set(MethodTable(Wants(1)).exposed) == {"method"}

    @pytest.mark.parametrize(
        "target", [object(), types.ModuleType("empty"), {}, {"_a": len}, lambda: 1], ids=shown
    )
    def test_nothing_to_expose_is_an_error(self, target: Any) -> None:
        with pytest.raises(ValueError, match="has no public method to expose"):
            MethodTable(target)

    def test_a_name_of_its_own(self) -> None:
        assert MethodTable(Users(), "users").name == "users"


class TestBuiltIns:
    table = MethodTable({"get": Users().get, "sqrt": math.sqrt}, "users")

    def ask(self, name: str, *args: Any) -> Any:
        answer = self.table.functions[name](*args)
        msgpack.packb(answer)
        return answer

    def test_they_answer(self) -> None:
        assert self.ask("_zerorpc_list") == ["get", "sqrt"]
        assert self.ask("_zerorpc_name") == "users"
        assert self.ask("_zerorpc_ping") == ["pong", "users"]
        assert self.ask("_zerorpc_help", "get") == "Find a user.\n\nIndented."
        names, star, stars, defaults = self.ask("_zerorpc_args", "get")
        assert (names, star, stars, defaults) == (["user", "deep", "key"], "rest", "more", [False, "id"])
        described = self.ask("_zerorpc_inspect")
        assert described["name"] == "users" and set(described["methods"]) == {"get", "sqrt"}
        assert described["methods"]["get"] == {
            "args": [
                {"name": "user"},
                {"name": "deep", "default": False},
                {"name": "*rest"},
                {"name": "key", "default": "id"},
                {"name": "**more"},
            ],
            "doc": "Find a user.\n\nIndented.",
            "signature": "(user, deep=False, *rest, key='id', **more)",
        }

    def test_they_are_not_listed_and_hidden_names_are_not_there(self) -> None:
        table = MethodTable(Users())
        assert not [name for name in table.exposed if name.startswith("_")]
        assert {name for name in table.functions if name.startswith("_")} == {
            *("_zerorpc_list", "_zerorpc_name", "_zerorpc_ping"),
            *("_zerorpc_help", "_zerorpc_args", "_zerorpc_inspect"),
        }

    def test_of_what_is_not_there(self) -> None:
        with pytest.raises(NameError, match=r"users has no method 'gte'; did you mean 'get'\?"):
            self.ask("_zerorpc_help", "gte")

    @pytest.mark.parametrize("method", [None, 5, ["get"], {"a": 1}, b"get"])
    def test_of_what_is_no_name(self, method: Any) -> None:
        with pytest.raises(TypeError, match="a method's name is text, not"):
            self.ask("_zerorpc_args", method)

    def test_a_name_without_an_end_gives_an_error_with_one(self) -> None:
        assert len(str(self.table.unknown("get" * 10**6))) < 200


class TestDescriptions:
    @pytest.mark.parametrize(
        ("function", "signature"),
        [
            (lambda a, b=1, *, c=None: 0, "(a, b=1, *, c=None)"),
            (math.sqrt, "(x, /)"),
            (Users().fixed, "(deep=False, *rest, key='id', **more)"),
            (Users().remembered, "(a)"),
            (functools.partial(lambda a, b: 0, 1), "(b)"),
            (dict.fromkeys, "(iterable, value=None, /)"),
        ],
    )
    def test_signatures(self, function: Any, signature: str) -> None:
        assert signature_of(function) == signature

    def test_every_function_of_c_has_one(self) -> None:
        for target in (math, time, {"get": {}.get, "upper": "".upper}):
            for function in MethodTable(target).exposed.values():
                assert signature_of(function).startswith("(")
                args_of(function)
                argspec_of(function)

    def test_one_that_only_its_docstring_tells(self) -> None:
        class Native:
            """frob(x, y=1) -> int

            Frobs."""

            __signature__ = 5

            def __call__(self) -> None: ...

        assert signature_of(Native()) == "(...)" and doc_of(Native()) is None
        assert args_of(Native()) is None and argspec_of(Native()) is None
        native = Native()
        native.__doc__ = "frob(x, y=1) -> int\n\nAnother one."
        assert signature_of(native) == "(x, y=1)"

    @pytest.mark.parametrize(
        "default", [object(), {1}, [1], 2**100, "\ud800", float("nan"), len, 1j, (1,), type], ids=shown
    )
    def test_any_default_travels(self, default: Any) -> None:
        def function(a: Any = default) -> None: ...

        msgpack.packb(
            [args_of(function), argspec_of(function), signature_of(function).encode(errors="replace")]
        )

    def test_the_docstring_of_its_class_is_not_its_own(self) -> None:
        assert doc_of(functools.partial(len)) is None
        assert doc_of(lambda: 0) is None

    def test_annotations_are_left_out(self) -> None:
        assert signature_of(Users().static) == "(a)"


class TestStreams:
    def test_a_mark_is_for_what_is_marked(self) -> None:
        @stream
        def marked() -> list[int]:
            return [1]

        def plain() -> Iterator[int]:
            yield 1

        assert is_stream(marked) and not is_stream(plain) and not is_stream(len)

    def test_a_marked_method_is_so_on_its_object(self) -> None:
        class Service:
            @methods.stream
            def rows(self) -> list[int]:
                return [1]

        assert is_stream(MethodTable(Service()).exposed["rows"])


class TestCallablesThatRaiseWhenTheyAreDescribed:
    class Function:
        __signature__ = property(raising)

        def __call__(self) -> int:
            return 1

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    class Default:
        def __repr__(self) -> str:
            raise RuntimeError

    def test_they_are_listed_all_the_same(self) -> None:
        table = MethodTable({"odd": self.Function(), "plain": len})
        assert not is_stream(table.exposed["odd"])
        inspected = table.functions["_zerorpc_inspect"]()["methods"]
        assert inspected["odd"] == {"args": None, "doc": None, "signature": "(...)"}
        assert inspected["plain"]["signature"]

    def test_a_default_without_a_repr(self) -> None:
        default = self.Default()

        def function(a: object = default) -> None: ...

        assert args_of(function) == [{"name": "a", "default": "<Default>"}]
        assert signature_of(function) == "(...)"
