"""The verb, and the models that ship, through the real parser and builder of TensorRT for RTX; no GPU is needed."""

import dataclasses
import fcntl
import importlib.util
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes import tiny_model
from places import MODELS

from seg_perception import cli, model_file
from seg_perception.backends.cuda.driver import Gpu
from seg_perception.backends.tensorrt import build, cache
from seg_perception.backends.tensorrt import engine as engines
from seg_perception.backends.tensorrt.cache import EngineCache, check_place, read_engine, write_engine
from seg_perception.errors import SegPerceptionError

needs_rtx = pytest.mark.skipif("rtx" not in engines.installed(), reason="TensorRT for RTX is not installed")


@pytest.fixture
def model(tmp_path):
    return tiny_model(tmp_path / "tiny.onnx")


def _run(*words):
    return cli.main(["build-engine", *map(str, words)])


@needs_rtx
@pytest.mark.parametrize(("fixed", "batch"), [(None, 1), (None, 3), (2, 2)])
def test_a_model_compiles_and_the_note_beside_it_fits(tmp_path, fixed, batch, capsys):
    model = tiny_model(tmp_path / "tiny.onnx", batch=fixed)
    out, facts = tmp_path / "tiny.engine", tmp_path / "facts.json"
    words = ["--model", model.path, "--out", out, "--compute-capability", "8.6", "--batch", batch, "--json", facts]
    assert _run(*words) == 0
    told = json.loads(facts.read_text())
    assert told["bytes"] == out.stat().st_size > 1000 and told["engine"] == str(out)
    assert (told["flavor"], told["compute_capability"], told["batch"]) == ("rtx", "8.6", batch)
    note = json.loads(out.with_suffix(".json").read_text())
    key = build.EngineKey(**note["key"])
    assert key.fingerprint == told["fingerprint"]
    assert read_engine(out, key, pytest.fail) == out.read_bytes()
    assert str(out) in capsys.readouterr().out
    assert not list(tmp_path.glob(".*"))


@needs_rtx
def test_a_folder_in_an_engines_place_is_named_before_one_is_built(tmp_path, model, capsys, monkeypatch):
    monkeypatch.setattr(engines, "build", lambda *_, **__: pytest.fail("minutes are spent"))
    (tmp_path / "place").mkdir()
    assert _run("--model", model.path, "--compute-capability", "8.6", "--out", tmp_path / "place") == 2
    assert f"{tmp_path / 'place'} is a folder, and a file is to be written" in capsys.readouterr().err


def test_a_place_is_the_same_by_whatever_way_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    for out, other in (("a.engine", tmp_path / "a.json"), ("sub/../a.engine", Path("a.json"))):
        with pytest.raises(SegPerceptionError, match="its note is written as"):
            check_place(Path(out), other)
    check_place(Path("a.engine"), Path("sub/a.json"))
    check_place(Path("a.engine"), None)


@needs_rtx
def test_the_note_takes_no_other_files_place(tmp_path, capsys):
    model, out = tiny_model(tmp_path / "tiny.onnx"), tmp_path / "tiny.engine"
    words = ["--model", model.path, "--compute-capability", "8.6"]
    for name, *more in (("tiny.json",), ("tiny.engine", "--json", tmp_path / "tiny.json")):
        assert _run(*words, "--out", tmp_path / name, *more) == 2
        assert "its note is written as tiny.json" in capsys.readouterr().err
    (tmp_path / "tiny.json").write_text('{"mine": 1}')
    assert _run(*words, "--out", out) == 2
    assert (tmp_path / "tiny.json").read_text() == '{"mine": 1}' and not out.exists()
    (tmp_path / "tiny.json").unlink()
    assert _run(*words, "--out", out) == _run(*words, "--out", out) == 0, "its own note may be replaced"


@needs_rtx
@pytest.mark.parametrize("harm", ["truncated", "flipped", "empty", "of another version", "cut before its note"])
def test_a_harmed_engine_of_the_real_builder_is_built_again(tmp_path, harm):
    model, flavor = tiny_model(tmp_path / "tiny.onnx"), engines.load_flavor("rtx")
    kept, key = EngineCache(tmp_path / "cache"), build.engine_key(model, flavor, Gpu("any", "8.6"), 1, "fp32")
    built = []

    def make():
        built.append(engines.build(flavor, model, precision="fp32", compute_capability="8.6"))
        return built[-1]

    assert kept.get(key, make, lambda line: None) == built[0]
    file = kept.path(key)
    data = bytearray(file.read_bytes())
    if harm == "truncated":
        del data[-9:]
    elif harm == "flipped":
        data[len(data) // 2] ^= 1
    elif harm == "empty":
        data.clear()
    elif harm == "of another version":
        write_engine(file, dataclasses.replace(key, version="1.0"), bytes(data))
    else:
        file.with_suffix(".json").unlink()
    file.write_bytes(data)
    assert kept.get(key, make, lambda line: None) == built[-1] and len(built) == 2
    assert kept.get(key, pytest.fail, pytest.fail) == built[-1]


@needs_rtx
def test_ctrl_c_that_meets_the_real_builders_log_ends_the_build(model, tmp_path, monkeypatch, capfd):
    """It writes a lot, so nearly every signal is handled there, and what is raised there is printed and lost."""
    logger = engines.load_flavor("rtx").logger
    really_log, sent = type(logger).log, []

    def log(self, severity, message):
        if not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(100):
                pass  # where the handler runs
        really_log(self, severity, message)

    monkeypatch.setattr(type(logger), "log", log)
    before = signal.getsignal(signal.SIGINT)
    assert _run("--model", model.path, "--out", tmp_path / "e", "--compute-capability", "8.6") == 130
    assert sent and not (tmp_path / "e").exists() and signal.getsignal(signal.SIGINT) == before
    assert "Exception caught" not in "".join(capfd.readouterr())


@needs_rtx
def test_what_reporting_raises_ends_the_real_build_and_is_the_cause(model, capfd):
    def broken(share, phase):
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        engines.build(engines.load_flavor("rtx"), model, compute_capability="8.6", progress=broken)
    assert "Exception caught" not in "".join(capfd.readouterr())


@needs_rtx
def test_a_batch_that_the_file_does_not_take_is_refused(tmp_path, capsys):
    path = tiny_model(tmp_path / "one.onnx", batch=1).path
    assert _run("--model", path, "--compute-capability", "8.6", "--out", tmp_path / "e", "--batch", 4) == 2
    assert "takes 1 at a time: leave it out" in capsys.readouterr().err
    assert _run("--model", path, "--compute-capability", "8.6", "--out", tmp_path / "e", "--batch", 10**6) == 2
    assert "from 1 to 256" in capsys.readouterr().err


@needs_rtx
def test_an_engine_for_the_gpu_at_hand_is_kept_where_the_node_finds_it_by_one_builder(model, tmp_path, monkeypatch):
    flavor, gpu, held = engines.load_flavor("rtx"), Gpu("some GPU", "8.6"), []
    monkeypatch.setattr(build, "Cuda", lambda: SimpleNamespace(gpu=lambda: gpu))
    kept = EngineCache(tmp_path / "cache")
    place = kept.path(build.engine_key(model, flavor, gpu, 1))

    def make(*_, **__):
        lock = os.open(place.with_suffix(".lock"), os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(lock)
        held.append(1)
        return b"engine"

    monkeypatch.setattr(engines, "build", make)
    assert _run("--model", model.path, "--flavor", "rtx", "--engine-cache", kept.folder) == 0 and held
    key = build.engine_key(model, flavor, gpu, 1)
    assert kept.get(key, lambda: pytest.fail("built twice"), pytest.fail) == b"engine"
    (tmp_path / "full").mkdir()
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))
    assert _run("--model", model.path, "--flavor", "rtx", "--engine-cache", tmp_path / "full") == 2 and len(held) == 1


@needs_rtx
def test_no_engine_of_the_real_builder_may_bring_code_for_the_cpu():
    flavor = engines.load_flavor("rtx")
    assert flavor.trt.Runtime.engine_host_code_allowed, "the property that the backend sets to False"


@needs_rtx
@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_every_shipped_model_compiles(path):
    shares = []
    engine = engines.build(
        engines.load_flavor("rtx"),
        model_file.load(path),
        compute_capability="8.6",
        progress=lambda share, phase: shares.append(share),
    )
    assert len(engine) > path.stat().st_size // 3
    assert shares == sorted(shares) and shares[-1] == 1.0


@needs_rtx
def test_a_capability_that_the_builder_does_not_know_is_refused_with_those_it_knows(model, tmp_path, capsys):
    for wrong in ("9.9", "86", "new"):
        assert _run("--model", model.path, "--out", tmp_path / "e", "--compute-capability", wrong) == 2
        said = capsys.readouterr().err
        assert wrong in said and "8.6" in said
    assert not (tmp_path / "e").exists()


@needs_rtx
def test_without_a_capability_and_a_gpu_the_remedy_is_named(model, capsys, monkeypatch):
    def no_gpu(self, runtime=None):
        raise build.SegPerceptionError("CUDA finds no GPU")

    monkeypatch.setattr(build.Cuda, "__init__", no_gpu)
    assert _run("--model", model.path) == 2
    assert "--compute-capability" in capsys.readouterr().err


@needs_rtx
def test_what_the_parser_refuses_is_told_with_its_cause(tmp_path, model, capsys):
    import onnx

    graph = onnx.load(str(model.path))
    graph.graph.node[-1].op_type = "NoSuchOperator"
    graph.graph.node[-1].domain = "nowhere"
    model_file.save(graph, model.path)
    words = ["--model", model.path, "--out", tmp_path / "e", "--compute-capability", "8.6"]
    assert _run(*words, "--precision", "fp32") == 2
    said = next(line for line in capsys.readouterr().err.splitlines() if "cannot parse" in line)
    assert "NoSuchOperator" in said and said.endswith(": export it again") and "driver version" not in said
    assert _run(*words, "--precision", "fp16") == 2
    said = capsys.readouterr().err
    assert "cannot" in said and "NoSuchOperator" in said and said.count("\n") == 1
    assert not (tmp_path / "e").exists()


def test_a_folder_named_like_a_flavour_is_none(tmp_path, monkeypatch):
    """Run from a folder that has one, as Python finds modules there."""
    (tmp_path / "no_such_flavour").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(engines.MODULES, "tensorrt", ("no_such_flavour",))
    assert importlib.util.find_spec("no_such_flavour") is not None
    assert "tensorrt" not in engines.installed()


def test_a_flavour_that_is_not_installed_is_named_with_what_to_install(model, capsys, monkeypatch):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    engines.load_flavor.cache_clear()
    assert _run("--model", model.path, "--flavor", "tensorrt") == 2
    assert "'tensorrt' is not installed: install" in capsys.readouterr().err
    engines.load_flavor.cache_clear()
    assert _run("--model", model.path) == 2
    assert "no TensorRT is installed" in capsys.readouterr().err


def test_a_file_that_is_no_model_is_refused(tmp_path, capsys):
    assert _run("--model", tmp_path / "none.onnx") == 2
    assert "none.onnx" in capsys.readouterr().err


@needs_rtx
def test_a_missing_folder_is_named_before_anything_is_built(model, tmp_path, capsys):
    out = tmp_path / "missing" / "e.engine"
    assert _run("--model", model.path, "--out", out, "--compute-capability", "8.6") == 2
    assert str(out.parent) in capsys.readouterr().err
