"""What is exposed of code that was not written for it, and what is left out, with the reason."""

from __future__ import annotations

import functools
import json
import math
import re
import time
import types
import urllib.parse
import weakref
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest

import mesh
from mesh.core.exposure import UNEXPOSED, LeftOut, unexposed
from mesh.core.methods import MethodTable
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
        if getattr(value, "__module__", None) == __name__ and not isinstance(value, types.MethodType):
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
        told = table.functions["_zerorpc_inspect"]()["left_out"]
        touchy, wordless = table.hidden.pop("touchy"), table.hidden.pop("wordless")
        assert re.fullmatch(rf"LookupError: not now at {re.escape(__file__)}:\d+", touchy)
        assert wordless.startswith("Wordless: (its text can't be had: OSError) at ")
        assert not table.hidden
        assert told["touchy"] == f"raised {touchy} when it was looked at" and set(table.left_out) == {
            "broken"
        }

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


class Link:
    """A client of another service, as far as this layer knows one."""

    __mesh_unexposed__ = "a client of another service"

    def __call__(self, method: str) -> str:
        return method

    def __getattr__(self, name: str) -> functools.partial[str]:
        if name.startswith("_"):
            raise AttributeError(name)
        return functools.partial(self, name)

    def close(self) -> None: ...


class Adder:
    def __call__(self, a: int) -> int:
        return a

    def add(self, a: int) -> int:
        return a


LINK = Link()
KEPT = {
    "itself": LINK,
    "a method": LINK.delete_all,
    "a bound method": LINK.close,
    "its call": LINK.__call__,
    "a partial": functools.partial(functools.partial(LINK), "delete_all"),
    "a cache": functools.cache(LINK.delete_all),
    "a static method": staticmethod(LINK.delete_all),
    "a class method": classmethod(LINK),
    "a method with arguments": functools.partialmethod(LINK, "delete_all"),
    "bound to another": types.MethodType(LINK, "delete_all"),
    "a proxy": weakref.proxy(LINK),
    "what passes for one": Mock(spec=Link),
}


class TestOtherServices:
    @pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
    def test_a_client_is_exposed_nowhere(self, kept: Any) -> None:
        def own() -> None: ...

        of_class = type("Front", (), {"users": kept, "own": staticmethod(own)})()
        of_object = types.SimpleNamespace(users=kept, own=own)
        of_module = module(users=kept, own=own, __all__=["users", "own"])
        for target in (of_class, of_object, of_module):
            of_a_class = (staticmethod, classmethod, functools.partialmethod)
            if isinstance(kept, of_a_class) and target is not of_class:
                continue
            table = MethodTable(target)
            assert set(table.exposed) == {"own"}, target
            why = table.left_out["users"].why
            assert re.fullmatch("(is|calls) a client of another service", why), why

    @pytest.mark.parametrize("kept", [name for name, one in KEPT.items() if callable(one)])
    def test_in_a_dict_it_is_a_mistake(self, kept: str) -> None:
        says = r"'users' (is|calls) a client of another service, and that is never exposed: write a function"
        with pytest.raises(ValueError, match=says):
            MethodTable({"own": len, "users": KEPT[kept]})

    @pytest.mark.parametrize("target", [LINK, Link, type("Own", (Link,), {"own": len})()], ids=shown)
    def test_it_is_no_target_either(self, target: Any) -> None:
        with pytest.raises(ValueError, match="is a client of another service, and that is never exposed"):
            MethodTable(target)

    def test_a_proxy_of_ones_own_does_not_pass_it_on(self) -> None:
        class Proxy:
            def __dir__(self) -> list[str]:
                return ["delete_all", "own"]

            def __getattr__(self, name: str) -> Any:
                return getattr(LINK, name) if name == "delete_all" else len

        table = MethodTable(Proxy())
        assert set(table.exposed) == {"own"} and "delete_all" in table.left_out

    def test_a_function_of_ones_own_that_calls_it_is_exposed(self) -> None:
        def get(link: Link, number: int) -> str:
            return link(f"get {number}")

        table = MethodTable({"get": functools.partial(get, LINK)})
        assert table.exposed["get"](5) == "get 5"

    def test_what_has_any_attribute_is_no_client(self) -> None:
        class Anything(type):
            def __getattr__(cls, name: str) -> str:
                return name

        class Odd(metaclass=Anything):
            def __getattr__(self, name: str) -> str:
                return name

            def __call__(self) -> None: ...

        for value in (Odd(), Mock(), functools.partial(Mock())):
            assert getattr(value, UNEXPOSED, "") != "a client of another service"
            assert unexposed(value) is None

    def test_nor_is_what_raises_when_it_is_asked_for_anything(self) -> None:
        class Closed:
            def __getattribute__(self, name: str) -> Any:
                raise RuntimeError(name)

            def __call__(self) -> int:
                return 1

        assert MethodTable({"closed": Closed()}).exposed["closed"]() == 1

    def test_callables_in_each_other_without_an_end(self) -> None:
        one = functools.partial(len)
        one.__setstate__((one, (), {}, {}))
        assert unexposed(one) is None
        one.__setstate__((len, (), {}, {}))  # else it is never freed


class TestWhatAnObjectKeeps:
    def test_only_functions_and_its_own_methods_are_exposed(self) -> None:
        class Keeps:
            of_class = Adder()

            def __init__(self) -> None:
                self.function = lambda a: a
                self.native = math.sqrt
                self.alias = self.method
                self.made = self.make
                self.callable = Adder()
                self.of_another = Adder().add
                self.append = [].append
                self.Class = Adder
                self.partial = functools.partial(len)
                self.cached = functools.cache(self.method)
                self.mock = Mock()
                self.limit = 5
                self.shadowed = Adder()

            def method(self, a: int) -> int:
                return a

            @classmethod
            def make(cls) -> None: ...

            def shadowed(self) -> None: ...

        table = MethodTable(Keeps())
        assert set(table.exposed) == {
            *("of_class", "function", "native", "alias", "made", "method", "make"),
        }
        kept = ["of_another", "callable", "append", "partial", "cached", "mock", "shadowed"]
        assert {name for name, one in table.left_out.items() if not one.usual} == set(kept)
        assert table.left_out["callable"].why.startswith("is a Adder that the object keeps; of what it keeps")
        assert table.left_out["Class"] == LeftOut("is a class", usual=True)

    def test_in_a_slot(self) -> None:
        class Slots:
            __slots__ = ("Class", "alias", "callable", "function", "unset")

            def __init__(self) -> None:
                self.function, self.alias = len, self.method
                self.callable, self.Class = Adder(), Adder

            def method(self) -> None: ...

        table = MethodTable(Slots())
        assert set(table.exposed) == {"function", "alias", "method"}
        assert set(table.left_out) == {"callable", "Class"}

    def test_a_property_stays_one_when_its_value_is_kept(self) -> None:
        class Lazy:
            @functools.cached_property
            def adder(self) -> Adder:
                return Adder()

            def method(self) -> None: ...

        lazy = Lazy()
        assert "computed" in MethodTable(lazy).left_out["adder"].why
        assert lazy.adder
        assert set(MethodTable(lazy).exposed) == {"method"}

    def test_what_its_getattr_gives_is_not_kept(self) -> None:
        class Delegates:
            def __dir__(self) -> list[str]:
                return ["add", "Class"]

            def __getattr__(self, name: str) -> Any:
                return Adder if name == "Class" else getattr(Adder(), name)

        assert set(MethodTable(Delegates()).exposed) == {"add"}


class TestWhatIsTold:
    def test_of_a_module(self) -> None:
        def own() -> None: ...

        table = MethodTable(module(own=own, dumps=json.dumps, link=LINK, Class=Adder, value=5))
        assert {name: one.why for name, one in table.left_out.items()} == {
            "dumps": "comes from json, and there is no __all__ that names it",
            "link": "is a client of another service",
            "Class": "is a class",
        }
        assert all(one.usual for one in table.left_out.values())

    def test_where_nothing_is_left_it_says_why(self) -> None:
        with pytest.raises(
            ValueError, match="no public method to expose: 'link' is a client of another service"
        ):
            MethodTable(types.SimpleNamespace(link=LINK))

    def test_a_call_of_it_says_why(self) -> None:
        table = MethodTable(types.SimpleNamespace(link=LINK, own=len), "front")
        assert str(table.unknown("link")) == (
            "front has no method 'link', for that is a client of another service"
        )
        assert table.functions["_zerorpc_inspect"]()["left_out"] == {"link": "is a client of another service"}

    def test_it_travels_whatever_was_raised(self) -> None:
        class Odd:
            odd = Raises(LookupError("\udcff"))

            def fine(self) -> None: ...

        table = MethodTable(Odd())
        assert "\\udcff" in table.hidden["odd"]
        table.hidden["odd"].encode()


def test_no_function_of_mesh_itself_is_exposed() -> None:
    class Holder:
        def __init__(self) -> None:
            self.connect = mesh.connect
            self.call = mesh.Client.__call__
            self.later = functools.partial(mesh.connect, timeout=1)

        def get(self) -> int:
            return 1

    assert list(MethodTable(Holder()).exposed) == ["get"]
    with pytest.raises(ValueError, match="is a function of mesh itself"):
        MethodTable({"connect": mesh.connect})
