"""YAML files read into dataclasses: a key that does not exist, or a value of another kind, is named."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from pathlib import Path
from typing import Any

from seg_perception.errors import SegPerceptionError, nearest_name


def read_yaml(path: Path) -> Any:
    """What a YAML file holds; raises SegPerceptionError when it cannot be read."""
    import yaml  # here, because the fields are of use without files

    try:
        return _loader()(path.read_text(encoding="utf-8")).get_single_data()
    except OSError as error:
        raise SegPerceptionError(f"{path} cannot be read ({error.strerror}): check the path") from error
    except UnicodeDecodeError as error:
        raise SegPerceptionError(
            f"{path} is no text in UTF-8 ({error.reason}): save it so, or give a YAML file"
        ) from error
    except (yaml.YAMLError, RecursionError, ValueError, AttributeError) as error:
        # The last two are of a date that is none.
        raise SegPerceptionError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error


@functools.cache
def _loader() -> Any:
    """SafeLoader that refuses a key which stands twice, of which YAML's own takes the last."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            seen = set()
            for key, _ in node.value:
                word = key.tag, str(key.value)
                if word in seen:
                    raise yaml.composer.ComposerError(None, None, f"the key '{key.value}' stands twice", key.start_mark)
                seen.add(word)
            return node

    return Loader


def laid_over(below: Any, above: Any) -> Any:
    """below with what above says in its place: keys of both are merged, all else of above stands, lists whole."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {**below, **{key: laid_over(below.get(key), value) for key, value in above.items()}}


def build(kind: Any, content: Any, where: str = "") -> Any:
    """Make a dataclass, tuple, dict or plain value of the annotated kind out of what YAML gave.

    where: the key that content stands under, with a dot, for the message. Raises SegPerceptionError naming the key, and
    the nearest known one where there is none such.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):  # X | None, int | str
        if types.NoneType in arguments:
            return None if content is None else build(arguments[0], content, where)
        if type(content) in arguments:  # one of several plain kinds
            return content
        expected = " or ".join(kind.__name__ for kind in arguments)
        raise SegPerceptionError(f"'{where.rstrip('.')}' has {content!r}, expected {expected}")
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(content, dict):
            raise SegPerceptionError(f"'{where.rstrip('.')}' must hold keys and values, not {content!r}")
        hints = typing.get_type_hints(kind)
        for key in content:
            if key not in hints:
                raise SegPerceptionError(f"there is no key '{where}{key}': {nearest_name(str(key), hints)}")
        for item in dataclasses.fields(kind):
            needed = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
            if needed and item.name not in content:
                raise SegPerceptionError(f"the key '{where}{item.name}' is missing")
        return kind(**{key: build(hints[key], value, f"{where}{key}.") for key, value in content.items()})
    name = where.rstrip(".")
    if origin is tuple:
        if isinstance(content, str) and arguments == (str, ...):  # one name instead of a list of names
            content = [content]
        if not isinstance(content, list) or (arguments[-1] is not ... and len(content) != len(arguments)):
            raise SegPerceptionError(
                f"'{name}' is {content!r}, expected a list" + ("" if arguments[-1] is ... else f" of {len(arguments)}")
            )
        return tuple(build(arguments[0], value, f"{name}.") for value in content)
    if origin is dict:
        if not isinstance(content, dict):
            raise SegPerceptionError(f"'{name}' is {content!r}, expected names with values")
        return {
            build(arguments[0], key, where): build(arguments[1], value, f"{where}{key}.")
            for key, value in content.items()
        }
    if kind is float and isinstance(content, (int, float)) and not isinstance(content, bool):
        try:
            number = float(content)
        except OverflowError as error:
            raise SegPerceptionError(f"'{name}' is a number of hundreds of digits: give a smaller one") from error
        if math.isnan(number):
            raise SegPerceptionError(f"'{name}' is not a number (.nan): give one")
        return number
    if kind is float and isinstance(content, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return build(float, float(content), where)
        except ValueError:
            pass
    if isinstance(kind, type) and isinstance(content, kind) and not (kind is int and isinstance(content, bool)):
        return content
    raise SegPerceptionError(f"'{name}' is {content!r}, expected {getattr(kind, '__name__', kind)}")
