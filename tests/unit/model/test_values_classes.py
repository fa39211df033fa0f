"""Classes in the journal: how they are found again, and what a changed class makes of old rows."""

import dataclasses
import enum
import functools
import subprocess
import sys
import types
import typing
from pathlib import Path

import pytest

from legato.errors import Misuse, NotStorable
from legato.model.values import decode, encode, from_stored, register, round_trip, to_stored
from tests.unit.model.codec_values import Basket, Item, Payment, Point, Right, Shop, Size, Sku

# -- a class found again -----------------------------------------------------------------------


def test_names_are_stored_not_values(shop: Shop) -> None:
    stored = to_stored(shop("class Size(enum.Enum): SMALL = 1").Size.SMALL)

    assert stored == {"$": "enum", "c": "shop:Size", "v": "SMALL"}
    later = shop("class Size(enum.Enum): SMALL = 'now a text'")
    assert from_stored(stored) is later.Size.SMALL


def test_an_alias_keeps_the_old_name_of_a_member_readable(shop: Shop) -> None:
    stored = to_stored(shop("class Size(enum.Enum): SMALL = 1").Size.SMALL)

    later = shop("class Size(enum.Enum):\n  TINY = 1\n  SMALL = 1")
    assert from_stored(stored) is later.Size.TINY
    shop("class Size(enum.Enum): TINY = 1")
    with pytest.raises(NotStorable, match=r"Size has no member 'SMALL' any more, only TINY"):
        from_stored(stored)


def test_combined_flags_come_back_by_number() -> None:
    assert to_stored(Right.READ | Right.WRITE) == {
        "$": "enum",
        "c": "tests.unit.model.codec_values:Right",
        "v": 3,
    }
    assert round_trip(Right.READ | Right.WRITE) is Right.READ | Right.WRITE


def test_a_number_is_no_member_of_a_plain_enum() -> None:
    row = {"$": "enum", "c": "tests.unit.model.codec_values:Size", "v": 1}
    with pytest.raises(NotStorable, match="no member's name"):
        from_stored(row)


def test_flags_that_compute_members_are_read_by_name_only(shop: Shop) -> None:
    module = shop(
        "class Right(enum.Flag):\n"
        "  READ = 1\n  WRITE = 2\n"
        "  @classmethod\n  def _missing_(cls, value): return super()._missing_(value)\n"
    )
    assert round_trip(module.Right.READ) is module.Right.READ
    with pytest.raises(NotStorable, match="overrides _missing_"):
        from_stored(to_stored(module.Right.READ | module.Right.WRITE))


def test_a_class_that_moved_is_found_where_the_old_module_imports_it(shop: Shop) -> None:
    stored = to_stored(shop("class Size(enum.Enum): SMALL = 1").Size.SMALL)

    shop("from tests.unit.model.codec_values import Size")
    assert from_stored(stored) is Size.SMALL


def test_a_class_that_moved_is_found_under_its_registered_old_name(shop: Shop) -> None:
    stored = to_stored(shop("class Size(enum.Enum): SMALL = 1").Size.SMALL)
    shop("")

    @register(name="shop:Size")
    class NewSize(enum.Enum):
        SMALL = 1

    assert from_stored(stored) is NewSize.SMALL
    assert to_stored(NewSize.SMALL) == stored


def test_a_class_seen_only_under_another_name_is_refused(shop: Shop) -> None:
    shop("def make():\n  class Hidden(enum.Enum): A = 1\n  return Hidden\nShown = make()")
    with pytest.raises(NotStorable, match="was stored as an Enum, and is none any more"):
        from_stored({"$": "enum", "c": "shop:Shown", "v": "A"})


def test_a_member_that_a_lookup_made_up_is_refused(shop: Shop) -> None:
    module = shop(
        "class Code(enum.IntEnum):\n  OK = 1\n  @classmethod\n  def _missing_(cls, value):\n"
        "    made = int.__new__(cls, value)\n    made._name_, made._value_ = 'OTHER', value\n"
        "    return made\n"
    )
    with pytest.raises(NotStorable, match=r"OTHER.*not among the members of its Enum"):
        to_stored(module.Code(7))


def test_a_class_that_is_not_loaded_is_told_with_the_cure(shop: Shop) -> None:
    stored = to_stored(shop("@dataclass\nclass Order: item: str").Order("tea"))

    shop("")
    with pytest.raises(NotStorable, match=r"Order of module 'shop'.*Import.*@register"):
        from_stored(stored)
    del sys.modules["shop"]
    with pytest.raises(NotStorable, match="Import that module where the App is made"):
        from_stored(stored)


def test_a_class_inside_a_function_must_be_registered() -> None:
    class Local(enum.Enum):
        A = 1

    with pytest.raises(NotStorable, match=r"cannot be found again as .*<locals>\.Local.*@register"):
        to_stored([Local.A])
    register(Local)
    assert round_trip(Local.A) is Local.A


def test_the_main_file_and_its_import_find_each_others_rows(tmp_path: Path) -> None:
    bot = tmp_path / "bot.py"
    bot.write_text(
        "import enum\n"
        "from legato.model.values import *\n"
        "class Size(enum.Enum): SMALL = 1\n"
        "row = encode(to_stored(Size.SMALL))\n"
        "assert from_stored(decode(row)) is Size.SMALL\n"
        "print(row.decode())\n"
    )
    for command in ([str(bot)], ["-m", "bot"], ["-c", "import bot"]):
        run = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, cwd=tmp_path, check=True
        )
        assert run.stdout == '{"$":"enum","c":"bot:Size","v":"SMALL"}\n'


# -- rows are not trusted ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["enum", "data", "struct", "sub"])
@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "os:environ",
        "builtins:eval",
        "builtins:dict",
        "subprocess:Popen",
        "enum:Enum",
        "msgspec:Struct",
        "this:d",
        "tests.unit.model.codec_values:Item.__init__",
        "tests.unit.model.codec_values:Item.__class__",
        "tests.unit.model.codec_values:same.__globals__",
        "tests.unit.model.codec_values",
        "",
        ":",
        "a:b:c",
    ],
)
def test_a_row_can_name_only_classes_of_the_right_kind(kind: str, name: str) -> None:
    with pytest.raises(NotStorable):
        from_stored({"$": kind, "c": name, "v": {}})
    with pytest.raises(NotStorable):
        from_stored({"$": kind, "c": name, "v": "x"})
    assert "this" not in sys.modules


def test_reading_never_asks_a_module_or_a_proxy_for_names(monkeypatch: pytest.MonkeyPatch) -> None:
    class Trap:
        def __getattribute__(self, name: str) -> object:
            raise AssertionError(f"ran code for {name}")

    class Module(types.ModuleType):
        def __getattribute__(self, name: str) -> object:
            raise AssertionError(f"ran code for {name}")

    module = Module("trap")
    types.ModuleType.__getattribute__(module, "__dict__").update(
        thing=Trap(), __getattr__=lambda name: pytest.fail(f"ran __getattr__ for {name}")
    )
    monkeypatch.setitem(sys.modules, "trap", module)

    for name in ("trap:thing", "trap:missing", "trap:thing.more"):
        with pytest.raises(NotStorable, match="no such class is loaded"):
            from_stored({"$": "data", "c": name, "v": {}})


def test_kinds_do_not_stand_for_each_other() -> None:
    for value in (Size.SMALL, Item("x"), Payment(1), Point(1, 2)):  # type: ignore[arg-type]
        stored: typing.Any = to_stored(value)
        for kind in {"enum", "data", "struct", "sub"} - {stored["$"]}:
            with pytest.raises(NotStorable, match="was stored as"):
                from_stored({**stored, "$": kind})


# -- register ----------------------------------------------------------------------------------


def test_registered_subclasses_of_builtin_types_come_back_as_such() -> None:
    class Tags(set[str]):
        pass

    class Loud(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise AssertionError

        def __iter__(self) -> typing.Any:
            raise AssertionError

    class Raw(bytearray):
        pass

    class Rows(list[int]):
        pass

    for cls in (Tags, Loud, Raw, Rows):
        register(cls)
    for value in (Tags("ab"), Raw(b"x"), Rows([1, 2]), Sku("x"), Basket(a=1), Point(1, 2)):
        again = round_trip(value)
        assert (type(again), again) == (type(value), value)
    assert str.__eq__(round_trip(Loud("x")), "x")
    assert {type(key) for key in round_trip({Sku("a"): 1})} == {Sku}


def test_what_a_subclass_carries_beside_its_value_is_refused() -> None:
    basket = Basket(tea=1)
    basket.owner = "Ann"  # type: ignore[attr-defined]
    with pytest.raises(NotStorable, match="attributes beside its dict"):
        to_stored(basket)


def test_a_named_tuple_that_has_grown_is_told(shop: Shop) -> None:
    head = "import typing\n@register\nclass P(typing.NamedTuple):\n  x: int\n"
    stored = to_stored(shop(head).P(1))

    shop(head + "  y: int = 0\n")
    with pytest.raises(NotStorable, match="has 1 fields, the class has 2"):
        from_stored(stored)


def test_register_refuses_what_it_cannot_help() -> None:
    class Plain:
        pass

    class Slotted(str):
        __slots__ = ("x",)

    class Own(dict[str, int]):
        def __reduce__(self) -> typing.Any:
            return Own, ()

    for cls in (Plain, Slotted, Own, int, object):
        with pytest.raises(Misuse, match="neither an exception"):
            register(cls)
    with pytest.raises(Misuse, match="module:Name"):
        register(Item, name="Item")
    with pytest.raises(Misuse, match="registered already"):
        register(Item, name="tests.unit.model.codec_values:Sku")


def test_registering_again_is_harmless() -> None:
    assert register(Sku) is Sku
    assert register(Item) is Item
    assert round_trip(Item("x")) == Item("x")


def test_a_reloaded_class_takes_the_place_of_the_old_one(shop: Shop) -> None:
    source = "@register\nclass Sku(str): pass"
    old = shop(source).Sku("x")
    new = shop(source)

    assert type(from_stored(to_stored(old))) is new.Sku


def test_a_partial_and_other_callables_are_refused() -> None:
    with pytest.raises(NotStorable, match="a partial"):
        to_stored(functools.partial(print))


def test_rows_are_found_by_a_fresh_process() -> None:
    row = encode(to_stored([Size.SMALL, Item("tea"), Point(1, 2)]))
    code = (
        "import sys\n"
        "from legato.model.values import *\n"
        "from legato.errors import NotStorable\n"
        "stored = decode(sys.stdin.buffer.read())\n"
        "try: from_stored(stored)\n"
        "except NotStorable as error: print('refused')\n"
        "print('tests.unit.model.codec_values' in sys.modules)\n"
        "import tests.unit.model.codec_values\n"
        "sys.stdout.buffer.write(encode(to_stored(from_stored(stored))))\n"
    )
    root = Path(__file__).parents[3]
    run = subprocess.run(
        [sys.executable, "-c", code], input=row, capture_output=True, cwd=root, check=True
    )
    assert run.stdout == b"refused\nFalse\n" + row
    assert dataclasses.is_dataclass(from_stored(decode(row))[1])
