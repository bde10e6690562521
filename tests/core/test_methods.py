"""How the methods of a server are described, and its built-in ones."""

from __future__ import annotations

import functools
import inspect
import math
import time
import types
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import msgpack
import pytest

from mesh.core import methods
from mesh.core.methods import (
    MethodTable,
    args_of,
    argspec_of,
    doc_of,
    expected,
    expected_of,
    is_stream,
    signature_of,
    stream,
)
from mesh.errors import ConfigError
from tests.core.test_exposure import Users, raising
from tests.helpers.ids import shown


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

    def test_nor_is_it_where_python_takes_the_instances_for_methods(self) -> None:
        """As it does of partials from 3.14 on, which are descriptors there."""

        class Wrapper:
            """The class's own text."""

            def __call__(self, *args: Any) -> None: ...

            def __get__(self, instance: object, owner: type) -> Any:
                return types.MethodType(self, instance)

        class Service:
            wrapped = Wrapper()
            described = Wrapper()
            described.__doc__ = "Its own."

        service = Service()
        assert inspect.isroutine(Wrapper()) and inspect.getdoc(service.wrapped) == "The class's own text."
        assert doc_of(Wrapper()) is None and doc_of(service.wrapped) is None
        assert doc_of(service.described) == doc_of(Service.__dict__["described"]) == "Its own."

    def test_every_kind_of_function_has_its_own(self) -> None:
        class Computes:
            """The class's."""

            @property
            def __doc__(self) -> str:  # type: ignore[override]
                return "Computed."

            def __call__(self) -> None: ...

        for function in (
            len,
            math.sqrt,
            [].append,
            dict.fromkeys,
            str.upper,
            (5).__add__,
            Users().remembered,
        ):
            assert doc_of(function), function
        assert doc_of(Computes()) == "Computed."

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


class TestExpected:
    def test_a_mark_is_for_what_is_marked(self) -> None:
        class Service:
            @expected(KeyError)
            @expected(OSError, ValueError)
            def get(self) -> None: ...

            def plain(self) -> None: ...

        methods = MethodTable(Service()).exposed
        assert expected_of(methods["get"]) == (OSError, ValueError, KeyError)
        assert expected_of(functools.partial(functools.partial(methods["get"]))) == expected_of(
            methods["get"]
        )
        assert expected_of(methods["plain"]) == expected_of(len) == ()

    def test_around_a_static_or_class_method_it_counts_too(self) -> None:
        class Service:
            @expected(KeyError)
            @stream
            @staticmethod
            def static() -> list[int]:
                return [1]

            @stream
            @expected(KeyError)
            @classmethod
            def of_class(cls) -> list[int]:
                return [1]

        for function in MethodTable(Service()).exposed.values():
            assert expected_of(function) == (KeyError,) and is_stream(function)

    def test_only_exceptions_are_expected(self) -> None:
        for wrong in (int, "KeyError", KeyError("a"), lambda: 1):
            with pytest.raises(ConfigError, match="expected must be an exception class"):
                expected(wrong)  # type: ignore[arg-type]

    def test_an_object_that_has_any_attribute_is_not_marked(self) -> None:
        assert expected_of(Mock()) == () and expected_of(Mock(spec=functools.partial)) == ()
        one = functools.partial(len)
        one.__setstate__((one, (), {}, {}))
        assert expected_of(one) == ()
        one.__setstate__((len, (), {}, {}))  # else it is never freed


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
