"""Where engines are kept: whatever a model is called, and wherever the cache lies."""

from __future__ import annotations

import gc
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_cuda import Machine
from fakes import tiny_model
from hypothesis import given
from hypothesis import strategies as st

from seg_perception.backends.tensorrt import cache, out_of_date
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
    really_open = os.open

    def read_only(path: Any, flags: int, *arguments: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(30, "Read-only file system", str(path))
        return really_open(path, flags, *arguments)

    def kept_by_system(self: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(Path, "unlink", kept_by_system)
    assert kept.get(KEY, lambda: pytest.fail("built"), pytest.fail) == b"engine"
    with pytest.raises(SegPerceptionError, match=r"cannot be written \(Read-only.*name another engine cache"):
        kept.get(replace(KEY, batch=2), lambda: pytest.fail("built, though it cannot be kept"), pytest.fail)
    with pytest.raises(SegPerceptionError, match="cannot be removed"):
        kept.discard(KEY)


def test_on_a_full_disk_nothing_is_built_that_could_not_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = EngineCache(tmp_path)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: SimpleNamespace(free=9_000_000))
    with pytest.raises(
        SegPerceptionError, match="has 9 MB free, and an engine takes 10 MB or more: free space or name"
    ):
        kept.get(
            KEY, lambda: pytest.fail("built, though it cannot be kept"), pytest.fail, replace(MODEL, size=10_000_000)
        )
    assert kept.get(KEY, lambda: b"engine", pytest.fail, replace(MODEL, size=8_000_000)) == b"engine"
    assert kept.get(KEY, lambda: pytest.fail("built"), pytest.fail, replace(MODEL, size=10_000_000)) == b"engine", (
        "it is there"
    )


def test_a_cache_that_nobody_may_look_into_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def secret(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    kept = EngineCache(tmp_path)
    monkeypatch.setattr(Path, "is_symlink", secret)
    with pytest.raises(SegPerceptionError, match=r"looked at \(Permission denied\): name another engine cache"):
        kept.get(KEY, lambda: pytest.fail("built, though it cannot be kept"), pytest.fail)


def test_a_cache_that_cannot_be_locked_is_used_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some shared folders."""
    really_lock, lines = cache.fcntl.flock, list[str]()

    def unable(file: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(cache.fcntl, "flock", unable)
    assert EngineCache(tmp_path).get(KEY, lambda: b"engine", lines.append) == b"engine"
    monkeypatch.setattr(cache.fcntl, "flock", really_lock)
    assert "cannot be locked (No locks available)" in lines[0]
    assert EngineCache(tmp_path).get(KEY, lambda: pytest.fail("built twice"), pytest.fail) == b"engine"


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

    monkeypatch.setattr(tensorrt, "write_kept", full)
    backend.warm_up()
    assert any("compiled again at the next start" in line and "No space left" in line for line in machine.lines)
    backend.close()
    assert cache.LONGEST_NAME < 128


# Whatever became of the files


def _files(kept: EngineCache) -> tuple[Path, Path]:
    engine = kept.path(KEY)
    return engine, engine.with_suffix(".json")


ENGINE = random.Random(0).randbytes(3000)


def _again(kept: EngineCache) -> int:
    """How often it is built when it is asked for twice; what comes is always the engine."""
    built = []

    def build() -> bytes:
        built.append(1)
        return ENGINE

    for _ in range(2):
        assert kept.get(KEY, build, lambda line: None) == ENGINE
    return len(built)


@pytest.mark.parametrize("which", [0, 1], ids=["engine", "note"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_file_that_is_cut_off_anywhere_is_built_again(tmp_path: Path, which: int, share: float) -> None:
    kept = EngineCache(tmp_path)
    assert _again(kept) == 1
    file = _files(kept)[which]
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    assert _again(kept) == 1


@pytest.mark.parametrize("which", [0, 1], ids=["engine", "note"])
def test_one_flipped_bit_is_built_again(tmp_path: Path, which: int) -> None:
    kept, rng = EngineCache(tmp_path), random.Random(1)
    for _ in range(100):
        _again(kept)
        file = _files(kept)[which]
        data = bytearray(file.read_bytes())
        place = rng.randrange(len(data))
        data[place] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        assert _again(kept) <= 1  # a space of the note may become another


def test_swapped_engines_and_engines_of_another_version_are_built_again(tmp_path: Path) -> None:
    kept, other = EngineCache(tmp_path), replace(KEY, version="2")
    _again(kept)
    kept.get(other, lambda: b"another", pytest.fail)
    for suffix in (".engine", ".json"):
        one, two = kept.path(KEY).with_suffix(suffix), kept.path(other).with_suffix(suffix)
        aside = one.with_suffix(".aside")
        one.rename(aside), two.rename(one), aside.rename(two)
    assert _again(kept) == 1
    assert kept.get(other, lambda: b"another", lambda line: None) == b"another"


@pytest.mark.parametrize(
    "note", ["[" * 100_000, "[]", '{"key": 1}', " " * (2 << 20), "\udcff", '{"key": {}, "bytes": "x"}']
)
def test_a_note_of_nonsense_is_built_again(tmp_path: Path, note: str) -> None:
    kept = EngineCache(tmp_path)
    _again(kept)
    _files(kept)[1].write_text(note, errors="surrogateescape")
    assert _again(kept) == 1


def test_an_engine_of_another_length_is_not_even_read(tmp_path: Path) -> None:
    """A sparse file of a terabyte takes no memory."""
    kept = EngineCache(tmp_path)
    _again(kept)
    os.truncate(_files(kept)[0], 1 << 40)
    assert _again(kept) == 1


def test_no_link_in_the_cache_is_followed(tmp_path: Path) -> None:
    """Neither read nor written: not the engine, its note, its lock, nor what lies aside while it is written."""
    mine = tmp_path / "mine"
    mine.write_text("precious")
    kept = EngineCache(tmp_path / "cache")
    for suffix in (".engine", ".json"):
        kept.path(KEY).with_suffix(suffix).symlink_to(mine)
    assert _again(kept) == 1
    assert not any(file.is_symlink() for file in _files(kept))
    note = {"key": asdict(KEY), "sha256": cache.hashlib.sha256(b"precious").hexdigest(), "bytes": 8}
    engine, beside = _files(kept)
    engine.unlink(), engine.symlink_to(mine), beside.write_text(json.dumps(note))
    assert _again(kept) == 1

    other = replace(KEY, batch=2)
    kept.path(other).with_suffix(".lock").symlink_to(mine)
    with pytest.raises(SegPerceptionError, match="cannot be written"):
        kept.get(other, lambda: ENGINE, pytest.fail)
    (kept.folder / f".kernels.{os.getpid()}.bin").symlink_to(mine)
    cache.write_kept(kept.folder / "kernels.bin", b"new")
    kept.beside("read.bin").symlink_to(mine)
    assert cache.read_kept(kept.beside("read.bin")) is None
    assert mine.read_text() == "precious"


@pytest.mark.parametrize("suffix", [".engine", ".json"])
@pytest.mark.parametrize("target", ["pipe", "folder", "/dev/null"])
def test_no_link_is_followed_to_what_is_no_file(tmp_path: Path, target: str, suffix: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    listening = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)  # else who writes to it would wait
    kept = EngineCache(tmp_path / "cache")
    kept.path(KEY).with_suffix(suffix).symlink_to(tmp_path / target)
    assert _again(kept) == 1
    assert all(file.is_file() and not file.is_symlink() for file in _files(kept))
    os.close(listening)


@pytest.mark.parametrize("suffix", [".engine", ".json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_no_engine_can_take_the_place_of_is_named_before_one_is_built(
    tmp_path: Path, make: Callable[[Path], None], suffix: str
) -> None:
    """A pipe would be waited for, for ever."""
    kept = EngineCache(tmp_path)
    there = kept.path(KEY).with_suffix(suffix)
    make(there)
    for write in (lambda: kept.get(KEY, lambda: pytest.fail("built"), print), lambda: cache.write_kept(there, b"")):
        with pytest.raises(SegPerceptionError, match=f"{there} is no file: take it away, or name another engine cache"):
            write()


def test_what_libraries_keep_is_theirs_unchanged_or_nothing(tmp_path: Path) -> None:
    file = tmp_path / "timing.cache"
    assert cache.read_kept(file) is None
    cache.write_kept(file, b"timings")
    assert cache.read_kept(file) == b"timings"
    whole = file.read_bytes()
    for harmed in (b"", whole[:-1], whole[1:], bytes([whole[0] ^ 1]) + whole[1:], whole + b"x"):
        file.write_bytes(harmed)
        assert cache.read_kept(file) is None


# Power cut at every step of writing


def _cut_at(step: int, work: Callable[[], Any]) -> bool:
    """Do work in a process that ends at its step-th change of the disk, half done; whether it came to its end."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    gc.disable()  # what other tests left may wait, when it is collected, for threads that are not here
    left = step

    def counted(do: Callable[..., Any], half: Callable[..., Any] = lambda *_: None) -> Callable[..., Any]:
        def stepped(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            if left == 0:
                half(*arguments)
                os._exit(9)
            left -= 1
            return do(*arguments, **named)

        return stepped

    really_open = Path.open

    def opened(self: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        file = really_open(self, mode, *arguments, **named)
        if "w" not in mode:
            return file

        class Half:
            __enter__, __exit__ = (lambda self: self), (lambda self, *_: file.close())
            write = staticmethod(counted(file.write, lambda data: (file.write(data[: len(data) // 2]), file.flush())))
            flush, fileno = file.flush, file.fileno

        return Half()

    try:
        Path.open = counted(opened)  # type: ignore[method-assign]
        Path.replace = counted(Path.replace)  # type: ignore[method-assign]
        os.open, os.fsync, os.unlink = counted(os.open), counted(os.fsync), counted(os.unlink)  # type: ignore[assignment]
        work()
    finally:
        os._exit(0)


@pytest.mark.parametrize("before", [None, "an older engine", "a broken one"])
def test_a_power_cut_at_any_step_leaves_the_engine_or_none(tmp_path: Path, before: str | None) -> None:
    steps = 0
    for step in range(200):
        kept = EngineCache(tmp_path / str(step))
        if before == "an older engine":
            kept.get(replace(KEY, version="0"), lambda: b"old", pytest.fail)
        if before == "a broken one":
            _again(kept)
            _files(kept)[0].write_bytes(b"broken")
        ended = _cut_at(step, lambda kept=kept: kept.get(KEY, lambda: ENGINE, lambda line: None))  # type: ignore[misc]
        assert _again(kept) <= (0 if ended else 1) and _again(kept) == 0
        left = {file.suffix for file in kept.folder.iterdir()}
        assert left <= {".engine", ".json", ".lock"}, "what was aside is gone"
        if before == "an older engine":
            assert kept.get(replace(KEY, version="0"), pytest.fail, pytest.fail) == b"old"
        if ended:
            break
        steps += 1
    assert 8 < steps < 100


# Engines that are out of date


MODEL = out_of_date.Origin("/models/m.onnx", "1", 1)


def _keep(kept: EngineCache, key: EngineKey, origin: out_of_date.Origin | None, log: Any = pytest.fail) -> Path:
    assert kept.get(key, lambda: b"engine", log, origin=origin) == b"engine"
    path = kept.path(key)
    cache.write_kept(path.with_suffix(".kernels"), b"kernels")
    return path


def _left_behind(engine: Path, days: float = 31) -> None:
    """As if nobody had used an engine for so long."""
    then = time.time() - days * 24 * 3600
    os.utime(engine, (then, then))


def _left(kept: EngineCache) -> set[Path]:
    return {path for path in kept.folder.iterdir() if path.suffix == ".engine"}


def test_an_engine_of_another_version_or_of_a_file_that_has_changed_gives_way_to_the_new_one(tmp_path: Path) -> None:
    kept, lines = EngineCache(tmp_path), list[str]()
    former = _keep(kept, replace(KEY, version="0.9"), None)  # its note names no model file
    _left_behind(former)
    changed = _keep(kept, replace(KEY, model_sha256="b", precision="fp16"), replace(MODEL, sha256="0"), lines.append)
    new = _keep(kept, KEY, MODEL, lines.append)
    assert {path.stem for path in tmp_path.iterdir()} == {new.stem} and _left(kept) == {new}
    assert lines == [
        f"removed the old engine {former.name}, which is of rtx 0.9 and was not used for 31 days",
        f"removed the old engine {changed.name}, whose model file /models/m.onnx has changed",
    ]


def test_what_may_be_used_again_stays(tmp_path: Path) -> None:
    """Other sizes, precisions and batches of the file, other models, GPUs and libraries, what says nothing of itself, and another
    version that somebody used this month."""
    kept = EngineCache(tmp_path)
    others = [
        (replace(KEY, model_sha256="of another size"), MODEL),
        (replace(KEY, precision="fp16", batch=4), MODEL),
        (replace(KEY, model_name="n", version="0.9"), None),
        (replace(KEY, gpu="h", version="0.9"), replace(MODEL, sha256="0")),
        (replace(KEY, flavor="tensorrt", version="0.9"), replace(MODEL, sha256="0")),
        (replace(KEY, model_sha256="c"), out_of_date.Origin("/other/m.onnx", "0", 1)),
        (replace(KEY, model_sha256="d"), replace(MODEL, sha256="")),
        (replace(KEY, model_sha256="e"), None),
    ]
    this_month = _keep(kept, replace(KEY, version="0.8"), MODEL)
    there = {_keep(kept, key, origin) for key, origin in others}
    for engine in there:
        _left_behind(engine)
    _left_behind(this_month, days=29)
    there.add(this_month)
    (tmp_path / "odd.engine").write_bytes(b"")
    (tmp_path / "odd.json").write_text("[1]")
    (tmp_path / "alone.engine").write_bytes(b"")
    there |= {tmp_path / "odd.engine", tmp_path / "alone.engine", _keep(kept, KEY, MODEL)}
    assert _left(kept) == there


class _User:
    """Of an engine."""


def test_an_engine_in_use_stays_until_its_user_closes_or_is_gone(tmp_path: Path) -> None:
    kept, old = EngineCache(tmp_path), replace(KEY, version="0.9")
    path = _keep(kept, old, MODEL)
    users = [_User(), _User()]
    end = out_of_date.hold(users[0], path)
    out_of_date.hold(users[1], path)
    _left_behind(path)
    new = _keep(kept, KEY, MODEL)
    kept.put(KEY, lambda: b"engine", pytest.fail, origin=MODEL)
    end()
    kept.put(KEY, lambda: b"engine", pytest.fail, origin=MODEL)
    assert _left(kept) == {path, new}
    users.pop()
    gc.collect()
    _left_behind(path)
    lines: list[str] = []
    kept.put(KEY, lambda: b"engine", lines.append, origin=MODEL)
    assert _left(kept) == {new} and len(lines) == 1


def test_what_was_measured_for_builds_of_another_month_gives_way(tmp_path: Path) -> None:
    kept, lines = EngineCache(tmp_path), list[str]()
    old, new = (kept.beside(f"timing-tensorrt-{version}-g-8.6.cache") for version in ("10.1", "10.3"))
    for file, days in ((old, 31), (new, 29)):
        cache.write_kept(file, b"measured")
        _left_behind(file, days)
    _keep(kept, KEY, MODEL, lines.append)
    assert not old.exists() and new.exists()
    assert lines == [f"removed {old.name}, which no build used for 31 days"]


def test_who_holds_an_engine_uses_it_this_month(tmp_path: Path) -> None:
    kept = EngineCache(tmp_path)
    path = _keep(kept, replace(KEY, version="0.9"), MODEL)
    _left_behind(path)
    out_of_date.hold(_User(), path)()
    new = _keep(kept, KEY, MODEL)
    assert _left(kept) == {path, new}


def test_an_engine_that_ran_for_months_was_used_until_its_end(tmp_path: Path) -> None:
    """One whose robot stops for an update, which may have to be taken back."""
    kept = EngineCache(tmp_path)
    path = _keep(kept, replace(KEY, version="0.9"), MODEL)
    user = _User()
    end = out_of_date.hold(user, path)
    _left_behind(path)
    end()
    new = _keep(kept, KEY, MODEL)
    assert _left(kept) == {path, new}


def test_a_backend_holds_its_engine_until_it_is_closed(tmp_path: Path) -> None:
    file, folder = tmp_path / "tiny.onnx", tmp_path / "cache"

    def machine(seed: int) -> Machine:
        return Machine(tiny_model(file, seed=seed), folder)

    running = machine(0).backend()
    (engine,) = _left(EngineCache(folder))
    second = machine(1)
    second.backend().close()
    assert engine.is_file() and not any("removed" in line for line in second.lines)
    running.close()
    third = machine(2)
    third.backend().close()
    assert not engine.is_file() and sum("has changed" in line for line in third.lines) == 2
