"""What a parameter is: its name, its default and what is allowed of its values. Needs no ROS."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from seg_perception.errors import SegPerceptionError

Value = bool | int | float | str | tuple[Any, ...]

_TYPE_NAMES: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


@dataclass(frozen=True)
class Spec:
    """What is said about a parameter beside its default. limits: least and greatest of each number; choices: of each
    string; lengths: allowed numbers of items of a list, any when empty; item: the type of a list's items."""

    description: str
    read_only: bool = True
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()
    item: type = str

    @property
    def allowed(self) -> str:
        """The allowed values, in words; empty when all of the type are."""
        words = ", ".join(self.choices)
        if self.limits:
            words = f"{self.limits[0]:g} to {self.limits[1]:g}"
        count = " or ".join(str(length) if length else "no" for length in self.lengths)
        return f"{count} values{' of ' if words else ''}{words}" if count else words


@dataclass(frozen=True)
class Declaration:
    """One parameter: its full name, its default (whose type is its type) and what is said about it."""

    name: str
    default: Value
    spec: Spec

    def check(self, value: object) -> Value:
        """value in the parameter's type, a whole number also where a real one is due.

        Raises SegPerceptionError naming the parameter, the value and what is allowed.
        """
        if isinstance(self.default, tuple):
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise self._refusal(value, f"a list of {self.spec.item.__name__}")
            items = tuple(self._item(item, self.spec.item, value) for item in value)
            if self.spec.lengths and len(items) not in self.spec.lengths:
                raise self._refusal(value, self.spec.allowed)
            return items
        return self._item(value, type(self.default), value)

    def _item(self, item: object, kind: type, value: object) -> Any:
        if kind is float and type(item) is int and abs(item) <= sys.float_info.max:
            item = float(item)
        if type(item) is not kind:
            raise self._refusal(value, f"{_TYPE_NAMES[kind]}{', ' if self.spec.allowed else ''}{self.spec.allowed}")
        spec = self.spec
        low, high = spec.limits or (-sys.float_info.max, sys.float_info.max)
        if kind in (int, float) and not low <= cast(float, item) <= high:
            raise self._refusal(value, spec.allowed or "finite numbers")
        if spec.choices and item not in spec.choices:
            raise self._refusal(value, spec.allowed)
        return item

    def _refusal(self, value: object, allowed: str) -> SegPerceptionError:
        shown = list(value) if isinstance(value, tuple) else value
        return SegPerceptionError(f"parameter '{self.name}' is {shown!r}: allowed is {allowed}")
