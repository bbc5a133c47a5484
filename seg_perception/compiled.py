"""Loops as machine code, wherever the program lies."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Loop = TypeVar("_Loop", bound=Callable[..., Any])


def compiled(loop: _Loop) -> _Loop:
    """loop as machine code, made at its first call and kept on disk where a folder for it can be written; in a read-only
    installation of a user without a home, or on a full disk, each process makes its own."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        faster: Any = numba.njit(cache=True, **options)(loop)
    except RuntimeError:  # no place to keep it
        faster = numba.njit(**options)(loop)
    cache = getattr(faster, "_cache", None)  # none where compiling is turned off
    if cache is not None:
        keep = cache.save_overload

        def keep_if_there_is_room(*what: Any) -> None:
            with contextlib.suppress(OSError):  # the loop is compiled all the same, only not kept
                keep(*what)

        cache.save_overload = keep_if_there_is_room
    found: _Loop = faster
    return found
