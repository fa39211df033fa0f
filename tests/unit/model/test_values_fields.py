"""Dataclasses and Structs in the journal: field by field, also after the class has changed."""

import typing

import msgspec
import pytest

from legato.errors import NotStorable
from legato.model.values import from_stored, round_trip, to_stored
from tests.unit.model.codec_values import Payment, Shop

BOTH = pytest.mark.parametrize(
    "head", ["@dataclass\nclass Order:\n", "class Order(msgspec.Struct):\n"], ids=["data", "struct"]
)


@BOTH
def test_a_field_newer_than_the_row_takes_its_default(shop: Shop, head: str) -> None:
    stored = to_stored(shop(f"{head}  item: str").Order("tea"))

    module = shop(
        f"{head}  item: str\n  count: int = 1\n  tags: list[str] = field(default_factory=list)"
        if "data" in head
        else f"{head}  item: str\n  count: int = 1\n  tags: list[str] = []"
    )
    order = from_stored(stored)
    assert order == module.Order("tea", 1, [])
    assert order.tags is not from_stored(stored).tags


@BOTH
def test_a_field_newer_than_the_row_without_default_is_told(shop: Shop, head: str) -> None:
    stored = to_stored(shop(f"{head}  item: str").Order("tea"))

    shop(f"{head}  item: str\n  count: int")
    with pytest.raises(NotStorable, match=r"Order has no field 'count'.*Give it one"):
        from_stored(stored)


@BOTH
def test_a_default_that_differs_each_time_is_not_used(shop: Shop, head: str) -> None:
    stored = to_stored(shop(f"{head}  item: str").Order("tea"))

    module = "dataclasses" if "data" in head else "msgspec"
    shop(f"{head}  item: str\n  id: object = {module}.field(default_factory=lambda: object())")
    with pytest.raises(NotStorable, match=r"no field 'id'.*no fixed default"):
        from_stored(stored)


@BOTH
def test_a_field_that_is_gone_is_dropped(shop: Shop, head: str) -> None:
    stored = to_stored(shop(f"{head}  item: str\n  count: int = 1").Order("tea", 2))

    module = shop(f"{head}  item: str")
    assert from_stored(stored) == module.Order("tea")


@BOTH
def test_a_renamed_field_is_told_not_lost(shop: Shop, head: str) -> None:
    stored = to_stored(shop(f"{head}  item: str\n  count: int = 1").Order("tea", 2))

    shop(f"{head}  item: str\n  amount: int = 1")
    with pytest.raises(NotStorable, match=r"\['count'\].*\['amount'\].*renamed"):
        from_stored(stored)


def test_a_dataclass_comes_back_without_its_init(shop: Shop) -> None:
    module = shop(
        "@dataclass\nclass Order:\n"
        "  item: str\n  total: int = field(init=False, default=0)\n  extra: dataclasses.InitVar[int] = 0\n"
        "  def __post_init__(self, extra): self.total += extra + 1\n"
    )
    order = module.Order("tea", extra=5)
    assert order.total == 6
    assert round_trip(order) == order


def test_a_struct_comes_back_as_it_was_whatever_its_post_init_does(shop: Shop) -> None:
    module = shop(
        "class Order(msgspec.Struct, frozen=True):\n  count: int\n"
        "  def __post_init__(self): msgspec.structs.force_setattr(self, 'count', self.count + 1)\n"
        "class Strict(msgspec.Struct):\n  count: int\n"
        "  def __post_init__(self):\n    if self.count < 0: raise KeyError('negative')\n"
    )
    order = module.Order(1)
    assert order.count == 2
    assert round_trip(order) == order
    row = {"$": "struct", "c": "shop:Strict", "v": {"count": -1}}
    with pytest.raises(NotStorable, match="negative"):
        from_stored(row)


def test_a_struct_that_omits_defaults_omits_them_in_the_journal(shop: Shop) -> None:
    module = shop(
        "class Order(msgspec.Struct, omit_defaults=True):\n"
        "  item: str = ''\n  count: int = 1\n  price: float = 0.0\n  tags: list[str] = []\n"
        "  sizes: tuple[int, ...] = ()\n  note: str | None = None\n"
    )
    stored: typing.Any = to_stored(module.Order())
    assert stored["v"] == {}
    full = module.Order("tea", True, -0.0, ["x"], (1,), "note")
    for order in (module.Order(), full, module.Order(price=-0.0), module.Order(count=0)):
        assert repr(round_trip(order)) == repr(order)


@BOTH
def test_a_default_is_stored_so_that_changing_it_changes_no_old_value(
    shop: Shop, head: str
) -> None:
    stored = to_stored(shop(f"{head}  item: str\n  count: int = 1").Order("tea"))

    shop(f"{head}  item: str\n  count: int = 2")
    assert from_stored(stored).count == 1


def test_inherited_fields_and_generic_classes_are_kept(shop: Shop) -> None:
    module = shop(
        "import typing\nT = typing.TypeVar('T')\n"
        "@dataclass(kw_only=True)\nclass Base:\n  id: int\n"
        "@dataclass(kw_only=True, slots=True)\nclass Child(Base, typing.Generic[T]):\n  item: T\n"
        "class Box(msgspec.Struct, typing.Generic[T], kw_only=True):\n  a: int = 1\n  item: T\n"
    )
    for value in (module.Child(id=1, item="x"), module.Box(item=2)):
        assert round_trip(value) == value


def test_what_a_dataclass_cannot_tell_is_refused(shop: Shop) -> None:
    module = shop(
        "import functools\n"
        "@dataclass\nclass Order:\n  item: str\n"
        "  @functools.cached_property\n  def label(self): return self.item.upper()\n"
        "@dataclass\nclass File:\n  name: str\n  def __del__(self): pass\n"
        "@dataclass\nclass Words(list):\n  name: str\n"
    )
    order = module.Order("tea")
    assert order.label == "TEA"
    assert round_trip(order) == order  # what is computed from the fields may be lost
    order.seen = True
    with pytest.raises(NotStorable, match=r"carries 'seen'.*Declare it as a field"):
        to_stored(order)
    del order.seen, order.item
    with pytest.raises(NotStorable, match="no value in its field 'item'"):
        to_stored(order)
    for refused in (module.File("x"), module.Words("x")):
        with pytest.raises(NotStorable, match="cannot keep"):
            to_stored(refused)


def test_unset_fields_stay_unset() -> None:
    assert round_trip(Payment(1)).note is msgspec.UNSET  # type: ignore[arg-type]
