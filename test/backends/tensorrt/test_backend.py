"""The backend against recorded calls of CUDA and TensorRT; the builder against the real library where it is installed."""

import gc
import json
import multiprocessing
import threading
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import numpy as np
import pytest
from fake_cuda import FakeCudaRuntime, FakeTensorRT, Machine
from fakes import tiny_model
from patience import WAIT_S
from places import CHECKOUT

from seg_perception.backends.cuda import driver
from seg_perception.backends.cuda.driver import Cuda
from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend
from seg_perception.backends.tensorrt import backend as tensorrt
from seg_perception.backends.tensorrt import cache
from seg_perception.backends.tensorrt import engine as engines
from seg_perception.backends.tensorrt.cache import EngineCache, EngineKey
from seg_perception.backends.tensorrt.engine import Flavor
from seg_perception.errors import SegPerceptionError


@pytest.fixture
def model(tmp_path):
    return tiny_model(tmp_path / "tiny.onnx")


@pytest.fixture
def machine(model, tmp_path):
    return Machine(model, tmp_path / "cache")


def _images(seed, count=1):
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 96, 3), dtype=np.uint8)


def _same(output, expected):
    pairs = zip(vars(output).values(), vars(expected).values())
    return all(a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-4) for a, b in pairs)


def test_every_run_answers_for_its_own_image_before_and_after_the_capture(machine):
    backend, cpu = machine.backend(), OnnxRuntimeBackend(machine.model)
    for seed in (1, 2, 3, 1):
        assert _same(backend.infer(_images(seed)), cpu.infer(_images(seed)))
    assert not _same(backend.infer(_images(1)), cpu.infer(_images(2)))


def test_an_ordinary_run_comes_before_the_capture_and_graphs_after_it(machine):
    backend = machine.backend()
    calls = machine.runtime.calls
    calls.clear()
    backend.infer(_images(1))
    assert calls == ["cudaSetDevice", *["cudaMemcpyAsync"] * 4, "cudaStreamSynchronize"]
    assert backend.describe()["cuda_graph"] == "network: not captured yet"
    calls.clear()
    backend.infer(_images(2))
    assert calls[:6] == ["cudaSetDevice", "cudaStreamBeginCapture", *["cudaMemcpyAsync"] * 4]
    assert calls[6:9] == ["cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphDestroy"]
    assert calls[9:] == ["cudaGraphLaunch", "cudaStreamSynchronize"]
    calls.clear()
    backend.infer(_images(2))
    assert calls == ["cudaGraphLaunch", "cudaStreamSynchronize"]
    assert backend.describe()["cuda_graph"] == "captured"


def test_no_memory_is_taken_after_the_start(machine):
    backend = machine.backend()
    taken = machine.runtime.held
    assert taken == {"host": 4, "device": 4, "streams": 1}
    backend.warm_up()
    backend.infer(_images(5))
    assert machine.runtime.held == {**taken, "executables": 1}


def test_closing_gives_everything_back_and_may_be_repeated(machine):
    backend = machine.backend()
    backend.warm_up()
    backend.close()
    backend.close()
    assert not machine.runtime.held
    with pytest.raises(RuntimeError, match="closed"):
        backend.infer(_images(1))


def test_what_was_handed_out_can_be_read_after_closing_and_is_given_back_with_its_last_reader(machine):
    backend = machine.backend()
    logits = backend.infer(_images(1)).semantic_logits
    seen = logits.copy()
    backend.close()
    assert np.array_equal(logits, seen) and machine.runtime.held == {"host": 1}
    del logits
    assert not machine.runtime.held


def test_a_backend_that_is_dropped_without_closing_leaves_nothing_behind(machine):
    machine.backend().warm_up()
    gc.collect()
    assert not machine.runtime.held


def test_closing_goes_on_when_a_call_of_it_fails(machine):
    backend = machine.backend()
    backend.warm_up()
    machine.runtime.fails.add("cudaGraphExecDestroy")
    with pytest.raises(SegPerceptionError, match="cudaGraphExecDestroy"):
        backend.close()
    assert machine.runtime.held == {"executables": 1}


@pytest.mark.parametrize("call", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_where_a_graph_cannot_be_captured_runs_go_on_and_it_is_said(machine, call):
    machine.runtime.fails.add(call)
    backend = machine.backend()
    backend.infer(_images(1))
    cpu = OnnxRuntimeBackend(machine.model)
    for seed in range(17):
        assert _same(backend.infer(_images(seed)), cpu.infer(_images(seed)))
    assert machine.runtime.calls.count("cudaStreamBeginCapture") == 5, "in the runs 2, 3, 5, 9 and 17"
    assert call in backend.describe()["cuda_graph"]
    assert sum("no CUDA graph" in line for line in machine.lines) == 1
    backend.close()
    assert not machine.runtime.held


@pytest.mark.parametrize("call", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_a_capture_that_failed_once_is_made_up_for(machine, call):
    machine.runtime.fails_after[call] = 0
    backend, cpu = machine.backend(), OnnxRuntimeBackend(machine.model)
    for seed in range(4):
        assert _same(backend.infer(_images(seed)), cpu.infer(_images(seed)))
    assert backend.describe()["cuda_graph"] == "captured"
    backend.close()
    assert not machine.runtime.held


def test_a_backend_whose_last_wait_fails_is_closed_all_the_same(machine):
    backend = machine.backend()
    backend.warm_up()
    machine.runtime.fails_after["cudaStreamSynchronize"] = 0
    with pytest.raises(SegPerceptionError, match="cudaStreamSynchronize"):
        backend.close()
    assert not machine.runtime.held
    backend.close()
    with pytest.raises(RuntimeError, match="closed"):
        backend.infer(_images(1))


def test_a_start_on_a_gpu_that_failed_for_good_names_the_first_cause(machine):
    machine.runtime.fails |= {"cudaMalloc", "cudaStreamSynchronize"}
    with pytest.raises(SegPerceptionError, match="cudaMalloc"):
        machine.backend()


def test_images_that_do_not_fit_are_refused(machine, tmp_path):
    backend = machine.backend()
    with pytest.raises(ValueError, match=r"uint8 \[1, 64, 32, 3\], expected uint8 \[N, 64, 96, 3\]"):
        backend.infer(np.zeros((1, 64, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="float32"):
        backend.infer(_images(1).astype(np.float32))
    with pytest.raises(ValueError, match="a run of 0 images, expected 1 to 1"):
        backend.infer(_images(1, 0))
    backend = Machine(machine.model, tmp_path, batch=3).backend()
    with pytest.raises(ValueError, match="a run of 4 images, expected 1 to 3"):
        backend.infer(_images(1, 4))


def test_any_number_of_images_up_to_the_batch_runs_together(model, tmp_path):
    machine = Machine(model, tmp_path, batch=3)
    backend, cpu = machine.backend(), OnnxRuntimeBackend(model)
    assert machine.trt.profiles == [("image", (1, 64, 96, 3), (3, 64, 96, 3), (3, 64, 96, 3))]
    backend.warm_up()
    machine.runtime.calls.clear()
    for count in (2, 3, 1, 2):
        machine.runtime.sent_bytes = machine.runtime.fetched_bytes = 0
        assert _same(backend.infer(_images(count, count)), cpu.infer(_images(count, count)))
        moved = machine.runtime.sent_bytes, machine.runtime.fetched_bytes
        assert moved == (count * 64 * 96 * 3, count * (11 + 1 + 2) * 8 * 12 * 4)
    assert set(machine.runtime.calls) == {"cudaGraphLaunch", "cudaStreamSynchronize"}
    assert machine.trt.contexts == 3 and backend.describe()["batch"] == "3"
    backend.close()
    assert not machine.runtime.held


def test_a_model_that_fixes_its_batch_runs_just_that(tmp_path):
    machine = Machine(tiny_model(tmp_path / "two.onnx", batch=2), tmp_path)
    backend = machine.backend()
    backend.warm_up()
    assert not machine.trt.profiles and backend.infer(_images(1, 2)).center_offset.shape == (2, 2, 8, 12)
    with pytest.raises(ValueError, match="a run of 1 images, expected 2 to 2"):
        backend.infer(_images(1, 1))


def test_facts_name_library_gpu_and_model(machine):
    facts = machine.backend().describe()
    assert facts["backend"] == "fake_tensorrt 10.3.0" and facts["device"] == "Fake GPU (8.6)"
    assert facts["model"] == "tiny" and facts["precision"] == "fp16", "of a float32 file float16 is made"


def test_a_failing_run_names_the_cause(machine):
    backend = machine.backend()
    machine.trt.run_result = False
    with pytest.raises(SegPerceptionError, match="cannot run the engine"):
        backend.infer(_images(1))
    machine.runtime.fails.add("cudaMemcpyAsync")
    with pytest.raises(SegPerceptionError, match=r"cudaMemcpyAsync failed \(fake error 7\)"):
        backend.infer(_images(1))


@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("cudaStreamCreateWithFlags", 0),
        *(("cudaHostAlloc", i) for i in range(4)),
        *(("cudaMalloc", i) for i in range(4)),
    ],
)
def test_a_start_that_fails_leaves_nothing_behind(machine, call, number):
    machine.runtime.fails_after[call] = number
    with pytest.raises(SegPerceptionError, match=call):
        machine.backend()
    assert not machine.runtime.held


def test_tensors_that_are_not_those_of_the_model_are_refused(machine):
    machine.trt.dtypes["center_offset"] = np.float16
    with pytest.raises(SegPerceptionError, match=r"'center_offset' is float16 .* expected float32"):
        machine.backend()
    del machine.trt.dtypes["center_offset"]
    with pytest.raises(SegPerceptionError, match="export the model again"):
        machine.backend()
    assert not machine.runtime.held


# Engines on disk


def _cached(machine):
    (engine,) = machine.cache_dir.glob("*.engine")
    return engine


def test_the_second_start_loads_what_the_first_built(machine):
    machine.backend()
    machine.backend()
    assert machine.trt.builds == 1
    assert machine.lines[0].startswith("building an engine of tiny")


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-3])


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def _foreign(path):
    note = path.with_suffix(".json")
    content = json.loads(note.read_text())
    content["key"]["gpu"] = "Another GPU"
    note.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "harm",
    [
        _truncate,
        _flip,
        _foreign,
        lambda path: path.with_suffix(".json").unlink(),
        lambda path: path.with_suffix(".json").write_text("{"),
    ],
    ids=["truncated", "flipped", "foreign", "without note", "broken note"],
)
def test_an_engine_that_is_not_whole_is_built_again(machine, harm):
    machine.backend()
    harm(_cached(machine))
    machine.backend().infer(_images(1))
    assert machine.trt.builds == 2 and any("built again" in line for line in machine.lines)
    machine.backend()
    assert machine.trt.builds == 2


def test_an_engine_that_does_not_load_is_built_again_once(machine):
    machine.trt.build_result = b"of another driver"
    with pytest.raises(SegPerceptionError, match="cannot load the engine that it built"):
        machine.backend()
    assert machine.trt.builds == 2
    machine.trt.build_result = b"FAKE engine"
    machine.backend().infer(_images(1))
    assert machine.trt.builds == 3


def test_an_engine_for_which_the_gpu_has_no_memory_is_kept(machine):
    """To build another takes minutes, and more memory yet."""
    machine.backend().close()

    def runtime(logger):
        def load(content):
            logger.errors += ["Error Code 2: OutOfMemory (Requested size was 9 bytes.)", "it was not loaded"]

        return SimpleNamespace(deserialize_cuda_engine=load)

    machine.trt.Runtime = runtime
    with pytest.raises(SegPerceptionError, match=r"no memory for the engine .*: end what else uses it, or use"):
        machine.backend()
    assert machine.trt.builds == 1 and _cached(machine).is_file()


def test_a_failing_run_is_not_blamed_on_what_was_said_of_another_engine(machine):
    machine.backend().close()
    make, said = machine.trt.Runtime, ["Serialization assertion failed"]

    def runtime(logger):
        made = make(logger)

        def load(content):
            logger.errors += said
            return machine.trt._engine(content) if machine.trt.builds == 2 else None

        made.deserialize_cuda_engine = load
        return made

    machine.trt.Runtime = runtime
    backend = machine.backend()
    machine.trt.run_result = False
    with pytest.raises(SegPerceptionError, match=r"cannot run the engine \(it gave no reason\)"):
        backend.infer(_images(0))


def test_no_engine_may_bring_code_for_the_cpu(machine):
    machine.backend()
    assert machine.trt.runtime.engine_host_code_allowed is False


def test_everything_that_matters_changes_the_fingerprint(model):
    base = {
        "model_name": "m",
        "model_sha256": "a",
        "flavor": "rtx",
        "version": "1",
        "gpu": "g",
        "compute_capability": "8.6",
        "precision": "fp32",
        "batch": 1,
        "options": {"a": "b"},
    }
    changed = {**{name: f"{value}x" for name, value in base.items()}, "batch": 2, "options": {"a": "c"}}
    prints = {EngineKey(**{**base, name: changed[name]}).fingerprint for name in base}
    assert len(prints | {EngineKey(**base).fingerprint}) == len(base) + 1


def test_a_changed_model_file_gets_an_engine_of_its_own(machine, tmp_path):
    machine.backend()
    machine.model = tiny_model(tmp_path / "tiny.onnx", seed=1)
    machine.backend()
    assert machine.trt.builds == 2


def test_each_precision_gets_an_engine_of_its_own_and_auto_is_one_of_them(machine):
    for precision, builds in (("fp32", 1), ("fp16", 2), ("auto", 2), ("fp32", 2)):
        machine.precision = precision
        machine.backend()
        assert machine.trt.builds == builds


def test_measured_kernels_are_kept_for_the_next_build(machine):
    machine.backend()
    _truncate(_cached(machine))
    machine.backend()
    assert machine.trt.timing_caches == [b"", b"timings"]
    (kept,) = machine.cache_dir.glob("timing-*.cache")
    for harm in (_truncate, _flip):
        harm(kept)
        _truncate(_cached(machine))
        machine.backend()
        assert machine.trt.timing_caches[-1] == b"", "a library is given whole files only"


def test_for_rtx_an_engine_can_be_captured_and_its_kernels_are_there_before_a_graph_keeps_them(machine):
    """As it comes, it takes memory during a run, and compiles the kernels for its shapes behind the first ones."""
    machine.backend().warm_up()
    assert machine.trt.flags == [] and machine.trt.specialised == []
    machine.flavor = "rtx"
    backend = machine.backend()
    backend.warm_up()
    assert machine.trt.flags == ["user allocation"] and set(machine.trt.specialised) == {"eager"}
    assert machine.trt.builds == 2 and list(machine.cache_dir.glob("*.kernels"))
    key = tensorrt.engine_key(machine.model, backend._flavor, backend._gpu, 1)
    machine.trt.BuilderFlag = SimpleNamespace()
    assert tensorrt.engine_key(machine.model, backend._flavor, backend._gpu, 1).fingerprint != key.fingerprint


def test_measured_kernels_that_cannot_be_kept_cost_no_engine(machine):
    machine.backend()
    (kept,) = machine.cache_dir.glob("timing-*.cache")
    kept.unlink()
    kept.mkdir()
    _truncate(_cached(machine))
    assert machine.backend().infer(_images(0))
    assert machine.trt.builds == 2 and any("measured again by the next build" in line for line in machine.lines)


def test_what_a_vendors_library_raises_is_told_in_a_sentence_and_leaves_nothing_behind(machine):
    """As pybind11 does where a factory gives nothing: so `fallback: cpu` is obeyed."""

    def nothing(content):
        raise TypeError("factory function returned nullptr")

    machine.trt._engine = nothing
    with pytest.raises(
        SegPerceptionError, match=r"fake_tensorrt 10.3.0 failed \(TypeError: factory .*\): check nvidia-smi"
    ):
        machine.backend()
    assert not machine.runtime.held


def test_what_the_builder_says_is_the_cause(machine):
    machine.trt.parse_errors = ["node 7: no importer for Foo"]
    with pytest.raises(SegPerceptionError, match=r"cannot parse .*tiny.onnx \(node 7"):
        machine.backend()
    machine.trt.parse_errors = []
    machine.trt.build_result = None
    with pytest.raises(SegPerceptionError, match="cannot build"):
        machine.backend()
    assert not list(machine.cache_dir.glob("*.engine"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SegPerceptionError, match="name another engine cache"):
        EngineCache(tmp_path / "file" / "cache")


def _build_slowly(folder, started, go_on, built):
    def build():
        started.set()
        assert go_on.wait(WAIT_S)
        built.put(1)
        return b"engine"

    EngineCache(folder).get(_key(), build, lambda line: None)


def _key():
    return EngineKey("m", "a", "rtx", "1", "g", "8.6", "fp32", 1, {})


def test_one_process_builds_and_the_other_waits_for_it(tmp_path):
    context = multiprocessing.get_context("spawn")
    started, go_on, built = context.Event(), context.Event(), context.Queue()
    other = context.Process(target=_build_slowly, args=(tmp_path, started, go_on, built))
    other.start()
    assert started.wait(WAIT_S)

    def log(line):
        assert "waiting" in line
        go_on.set()

    def build():
        raise AssertionError("built twice")

    assert EngineCache(tmp_path).get(_key(), build, log) == b"engine"
    other.join(WAIT_S)
    assert other.exitcode == 0 and built.get(timeout=WAIT_S) == 1


def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    target = tmp_path / "engine"
    target.write_bytes(b"old")

    def fail(place):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "fsync", fail)
    with pytest.raises(SegPerceptionError, match="No space left"):
        cache.write_aside(target, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["engine"] and target.read_bytes() == b"old"


# Whether it can run here


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(engines, "installed", lambda: [])
    assert "neither tensorrt nor tensorrt_rtx" in tensorrt.why_unavailable()
    monkeypatch.setattr(engines, "installed", lambda: ["rtx"])
    monkeypatch.setattr(tensorrt.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'cuda-bindings<13' for CUDA 12" in tensorrt.why_unavailable()
    monkeypatch.setattr(tensorrt.importlib.util, "find_spec", lambda name: ModuleSpec(name, None, origin="there"))
    runtime = FakeCudaRuntime()
    monkeypatch.setattr(tensorrt, "Cuda", lambda: Cuda(runtime))
    assert tensorrt.why_unavailable() is None
    runtime.fails.add("cudaGetDeviceCount")
    monkeypatch.setattr(driver, "driver_installed", lambda: True)
    assert "fake error 7" in tensorrt.why_unavailable()
    monkeypatch.setattr(driver, "driver_installed", lambda: False)
    told = tensorrt.why_unavailable()
    assert "no NVIDIA driver was found" in told and "--gpus all" in told and "fake error" not in told


def test_a_jetson_is_told_of_what_jetpack_does_not_bring():
    """Without it all looks well, and the network runs on the CPU."""
    pages = [(CHECKOUT / name).read_text() for name in ("README.md", "docs/robot.md", "docker/jetson.Dockerfile")]
    assert all("cuda-bindings" in page for page in pages)


def test_progress_rises_and_ends_at_one():
    seen = []
    monitor = engines._make_monitor(FakeTensorRT, lambda share, phase: seen.append((share, phase)))
    monitor.phase_start("all", None, 2)
    monitor.phase_start("part", "all", 4)
    for step in range(4):
        monitor.step_complete("part", step)
    monitor.phase_finish("part")
    monitor.step_complete("all", 0)
    monitor.step_complete("all", 1)
    monitor.phase_finish("all")
    assert [share for share, _ in seen] == [0.125, 0.25, 0.375, 0.5, 0.5, 1.0, 1.0]
    assert seen[0][1] == "part"


@pytest.mark.parametrize("cause", [KeyboardInterrupt, BrokenPipeError])
def test_what_reporting_raises_ends_a_build_at_its_next_step(machine, cause):
    def interrupt(share, phase):
        raise cause

    flavor = Flavor("tensorrt", machine.trt, engines._make_logger(machine.trt))
    with pytest.raises(cause):
        engines.build(flavor, machine.model, progress=interrupt)


def test_a_build_in_another_thread_leaves_signals_alone(machine):
    """As the node builds: Python runs handlers, and sets them, in the main thread only."""
    flavor, built = Flavor("tensorrt", machine.trt, engines._make_logger(machine.trt)), []
    thread = threading.Thread(target=lambda: built.append(engines.build(flavor, machine.model)))
    thread.start()
    thread.join(WAIT_S)
    assert built == [b"FAKE engine"]
