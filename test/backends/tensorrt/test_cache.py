"""Where engines are kept: whatever a model is called, and wherever the cache lies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_cuda import Machine
from fakes import tiny_model
from hypothesis import given
from hypothesis import strategies as st

from seg_perception.backends.tensorrt import cache
from seg_perception.backends.tensorrt.cache import EngineCache, EngineKey
from seg_perception.errors import SegPerceptionError

KEY = EngineKey("m", "a", "rtx", "1", "g", "8.6", "fp32", 1, {})
ODD_NAMES = [
    "../escaped",
    "/absolute",
    "my/model",
    "..",
    ".",
    "",
    ".hidden",
    "a" * 240,
    "ä ö\n",
    "a\0b",
    "-rf",
    "C:\\m",
]


@given(name=st.one_of(st.text(max_size=400), st.sampled_from(ODD_NAMES)))
def test_every_name_gives_a_file_in_the_cache(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    kept = EngineCache(tmp_path_factory.getbasetemp() / "cache")
    path = kept.path(replace(KEY, model_name=name))
    assert path.parent == kept.folder and path.suffix == ".engine" and not path.name.startswith(".")
    assert len(path.with_suffix(".kernels").name.encode()) < 120
    assert path.name.isascii() and path.name.isprintable()


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_engine_of_any_name_is_kept_and_found(name: str, tmp_path: Path) -> None:
    kept, key = EngineCache(tmp_path / "cache"), replace(KEY, model_name=name)
    assert kept.get(key, lambda: b"engine", pytest.fail) == b"engine"
    assert kept.get(key, lambda: pytest.fail("built twice"), pytest.fail) == b"engine"
    assert {path.name for path in tmp_path.iterdir()} == {"cache"}


def test_names_that_look_equal_as_files_have_engines_of_their_own(tmp_path: Path) -> None:
    kept = EngineCache(tmp_path)
    assert len({kept.path(replace(KEY, model_name=name)) for name in ("a/b", "a_b", "a b")}) == 3


def test_a_cache_that_cannot_be_written_still_gives_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = EngineCache(tmp_path)
    kept.get(KEY, lambda: b"engine", pytest.fail)
    really_open = Path.open

    def read_only(self: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if "w" in mode:
            raise OSError(30, "Read-only file system", str(self))
        return really_open(self, mode, *arguments, **named)

    def kept_by_system(self: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "open", read_only)
    monkeypatch.setattr(Path, "unlink", kept_by_system)
    assert kept.get(KEY, lambda: pytest.fail("built"), pytest.fail) == b"engine"
    with pytest.raises(SegPerceptionError, match=r"cannot be written \(Read-only.*name another engine cache"):
        kept.get(replace(KEY, batch=2), lambda: pytest.fail("built, though it cannot be kept"), pytest.fail)
    with pytest.raises(SegPerceptionError, match="cannot be removed"):
        kept.discard(KEY)


def test_a_file_in_place_of_the_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SegPerceptionError, match=r"cannot be made.*name another engine cache"):
            EngineCache(folder)


def test_a_user_without_a_home_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(cls: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", classmethod(homeless))
    with pytest.raises(SegPerceptionError, match=r"no home .*name an engine cache"):
        EngineCache()
    EngineCache(tmp_path)


def test_compiled_kernels_that_cannot_be_kept_stop_no_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seg_perception.backends.tensorrt import backend as tensorrt

    class Kernels:
        def serialize(self) -> bytes:
            return b"kernels"

    machine = Machine(tiny_model(tmp_path / "tiny.onnx"), tmp_path / "cache")
    backend = machine.backend()
    backend._jit_cache = Kernels()

    def full(path: Path, content: bytes) -> None:
        raise SegPerceptionError(f"{path} cannot be written (No space left on device)")

    monkeypatch.setattr(tensorrt, "write_aside", full)
    backend.warm_up()
    assert any("compiled again at the next start" in line and "No space left" in line for line in machine.lines)
    backend.close()
    assert cache.LONGEST_NAME < 128
