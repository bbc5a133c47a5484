"""The fake GPU fails where a real one would crash or give wrong numbers, and its calls are those of the real library."""

import ctypes
import gc

import numpy as np
import pytest
from fake_cuda import POISON, FakeCudaRuntime, FakeTensorRT, Machine
from fakes import tiny_model

from seg_perception.backends.cuda.driver import Cuda, DeviceMemory, Stream, Transfer, Work
from seg_perception.errors import SegPerceptionError


@pytest.fixture
def runtime():
    return FakeCudaRuntime()


@pytest.fixture
def stream(runtime):
    return Stream(Cuda(runtime))


# What the code relies on


def test_a_pinned_array_and_its_twin_on_the_gpu_hold_the_same_after_a_copy_each_way(stream):
    transfer = Transfer(stream, (3, 2), np.uint16)
    transfer.array[:] = [[1, 2], [3, 4], [5, 6]]
    transfer.to_device()
    stream.synchronize()
    transfer.array[:] = 0
    transfer.to_host(8)
    stream.synchronize()
    assert transfer.array.tolist() == [[1, 2], [3, 4], [0, 0]]


def test_memory_is_filled_with_values_in_their_order_however_they_lie_and_with_no_more_than_it_holds(stream):
    values, read = np.arange(6, dtype=np.int32).reshape(2, 3).T, Transfer(stream, (3, 2), np.int32)
    memory = DeviceMemory(stream, (3, 2), np.int32)
    memory.fill(values)
    kind = stream.cuda.runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice
    stream.copy(read.address, memory.address, memory.bytes, kind)
    read.to_host()
    stream.synchronize()
    assert read.array.tolist() == values.tolist()
    with pytest.raises(ValueError, match="28 bytes for memory of 24"):
        memory.fill(np.zeros(7, np.int32))


def test_memory_is_given_back_once_by_free_or_with_its_last_reader(runtime, stream):
    transfer = Transfer(stream, (4,), np.uint8)
    view = transfer.array[1:3]
    transfer.free()
    transfer.free()
    assert runtime.held == {"host": 1, "streams": 1}
    del transfer
    assert runtime.held == {"host": 1, "streams": 1}
    del view
    assert runtime.held == {"streams": 1}
    stream.destroy()
    stream.destroy()
    assert not runtime.held


def test_a_failing_pinned_allocation_gives_the_gpus_memory_back(runtime, stream):
    runtime.fails.add("cudaHostAlloc")
    with pytest.raises(SegPerceptionError, match="cudaHostAlloc"):
        Transfer(stream, (4,), np.uint8)
    assert runtime.held == {"streams": 1}


def test_work_runs_once_by_hand_and_then_as_a_graph(runtime, stream):
    transfer = Transfer(stream, (1,), np.uint8)
    runs = []

    def enqueue():
        transfer.to_device()
        runtime.enqueue(stream.handle, lambda: runs.append(int(runtime.array(transfer.address, (1,), np.uint8)[0])))

    work = Work(stream, enqueue, pytest.fail)
    for value in (7, 8, 9):
        transfer.array[:] = value
        work.run()
        stream.synchronize()
    assert runs == [7, 8, 9] and work.state == "captured"
    assert runtime.calls.count("cudaGraphLaunch") == 2 and runtime.held["executables"] == 1
    work.destroy()
    work.destroy()
    assert "executables" not in runtime.held


@pytest.mark.parametrize("problem", [SegPerceptionError("half"), ValueError("half"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("number", [0, 1], ids=["call by call", "capture"])
def test_work_that_fails_half_way_leaves_nothing_queued_on_memory_that_may_be_freed(runtime, stream, problem, number):
    transfer = Transfer(stream, (1,), np.uint8)
    fails = []

    def enqueue():
        transfer.to_device()
        if fails:
            raise fails.pop()

    work = Work(stream, enqueue, lambda line: None)
    for _ in range(number):
        work.run()
        stream.synchronize()
    fails.append(problem)
    if number and isinstance(problem, SegPerceptionError):
        work.run()  # a capture that fails is no harm: the run itself goes call by call
        stream.synchronize()
    else:
        with pytest.raises(type(problem)):
            work.run()
    transfer.free()
    assert "device" not in runtime.held and not runtime.graphs


def test_a_failing_wait_does_not_hide_why_work_failed(runtime, stream):
    def enqueue():
        raise KeyboardInterrupt

    runtime.fails.add("cudaStreamSynchronize")
    with pytest.raises(KeyboardInterrupt):
        Work(stream, enqueue, pytest.fail).run()


def test_memory_that_python_collects_is_not_freed_within_a_capture(runtime, stream):
    """Which would break the capture: a cycle of garbage that holds memory may be found at any allocation."""

    class Owner:
        def __init__(self, memory):
            self.memory, self.me = memory, self

    left = [DeviceMemory(stream, (4,), np.uint8)]
    capturing = []

    def enqueue():
        if runtime.calls[-1] == "cudaStreamBeginCapture":
            Owner(left.pop())
            capturing.append([[] for _ in range(1000)])

    work = Work(stream, enqueue, pytest.fail)
    work.run()
    threshold = gc.get_threshold()
    gc.set_threshold(10)
    try:
        work.run()
    finally:
        gc.set_threshold(*threshold)
    assert capturing and work.state == "captured" and gc.isenabled()
    gc.collect()
    assert "device" not in runtime.held


# What the fake refuses


def test_results_are_not_there_before_they_are_waited_for(stream):
    memory = DeviceMemory(stream, (4,), np.uint8)
    memory.fill(np.arange(4, dtype=np.uint8))
    transfer = Transfer(stream, (4,), np.uint8)
    stream.copy(transfer.array.ctypes.data, memory.address, 4, FakeCudaRuntime.cudaMemcpyKind.cudaMemcpyDeviceToHost)
    assert transfer.array.tolist() == [POISON] * 4
    stream.synchronize()
    assert transfer.array.tolist() == [0, 1, 2, 3]


def _too_long(runtime, stream, transfer):
    transfer.to_device(5)
    stream.synchronize()


def _behind_the_end(runtime, stream, transfer):
    ctypes.memset(transfer.address + 4, 0, 1)
    try:
        stream.synchronize()
    finally:
        ctypes.memset(transfer.address + 4, POISON, 1)


def _after_free(runtime, stream, transfer):
    address = transfer.address
    transfer.free()
    stream.copy(address, transfer.array.ctypes.data, 4, runtime.cudaMemcpyKind.cudaMemcpyHostToDevice)
    stream.synchronize()


def _freed_while_queued(runtime, stream, transfer):
    transfer.to_device()
    runtime.cudaFree(transfer.address)


def _wrong_way(runtime, stream, transfer):
    stream.copy(transfer.address, transfer.array.ctypes.data, 4, runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost)
    stream.synchronize()


def _on_a_destroyed_stream(runtime, stream, transfer):
    stream.destroy()
    transfer.to_device()


def _freed_during_capture(runtime, stream, transfer):
    runtime.cudaStreamBeginCapture(stream.handle, 1)
    runtime.cudaFree(transfer.address)


def _taken_during_capture(runtime, stream, transfer):
    runtime.cudaStreamBeginCapture(stream.handle, 1)
    runtime.cudaMalloc(4)


@pytest.mark.parametrize(
    "harm",
    [
        _too_long,
        _behind_the_end,
        _after_free,
        _freed_while_queued,
        _wrong_way,
        _on_a_destroyed_stream,
        _taken_during_capture,
        _freed_during_capture,
    ],
    ids=lambda harm: harm.__name__.strip("_"),
)
def test_misuse_of_the_gpu_fails(runtime, stream, harm):
    transfer = Transfer(stream, (4,), np.uint8)
    with pytest.raises(AssertionError):
        harm(runtime, stream, transfer)
    runtime.clear()


def test_freeing_twice_fails(runtime):
    address = runtime.cudaMalloc(4)[1]
    runtime.cudaFree(address)
    with pytest.raises(KeyError):
        runtime.cudaFree(address)


def test_an_engine_that_runs_without_waiting_for_it_gives_nothing(tmp_path, monkeypatch):
    machine = Machine(tiny_model(tmp_path / "tiny.onnx"), tmp_path / "cache")
    backend = machine.backend()
    monkeypatch.setattr(Stream, "synchronize", lambda self: None)
    logits = backend.infer(np.zeros((1, 64, 96, 3), np.uint8)).semantic_logits
    assert (logits.view(np.uint8) == POISON).all()
    machine.runtime.clear()


def test_an_engine_whose_tensors_are_freed_does_not_run(tmp_path):
    machine = Machine(tiny_model(tmp_path / "tiny.onnx"), tmp_path / "cache")
    backend = machine.backend()
    backend.warm_up()
    backend._tensors["center_offset"].free()
    with pytest.raises(AssertionError, match="freed, or never there"):
        backend.infer(np.zeros((1, 64, 96, 3), np.uint8))
    machine.runtime.clear()


# The real libraries


class _Compared(FakeCudaRuntime):
    """Every call goes to cuda-python as well, which refuses wrong arguments before it finds that there is no GPU."""

    def __init__(self, real):
        super().__init__()
        self.real = real
        self.cudaMemcpyKind = real.cudaMemcpyKind
        self.cudaStreamCaptureMode = real.cudaStreamCaptureMode
        self.cudaStreamNonBlocking = real.cudaStreamNonBlocking

    def __getattr__(self, name):
        fake = super().__getattr__(name)

        def call(*arguments):
            results = getattr(self.real, name)(*arguments)
            assert results[0] != self.real.cudaError_t.cudaSuccess
            answer = fake(*arguments)
            assert len(answer) == len(results), f"{name} gives {len(results)} values"
            return answer

        return call


def test_the_calls_are_those_of_cuda_python(tmp_path):
    real = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    if real.cudaGetDeviceCount()[0] == real.cudaError_t.cudaSuccess:
        pytest.skip("there is a GPU, which must not be given the fake's addresses")
    machine = Machine(tiny_model(tmp_path / "tiny.onnx"), tmp_path / "cache")
    machine.runtime = _Compared(real)
    machine.trt = FakeTensorRT(machine.runtime, machine.model)
    backend = machine.backend()
    backend.warm_up()
    backend.close()
    assert not machine.runtime.held and len(set(machine.runtime.calls)) > 12


@pytest.mark.parametrize("module", ["tensorrt", "tensorrt_rtx_bindings"])
def test_what_the_fake_offers_is_in_the_real_library(module):
    trt = pytest.importorskip(module, reason=f"{module} is not installed")
    if trt.__file__ is None:  # the folder of tests beside this one
        pytest.skip(f"{module} is not installed")
    for name, members in {
        "Builder": "create_network create_builder_config create_optimization_profile build_serialized_network",
        "IBuilderConfig": "add_optimization_profile create_timing_cache set_timing_cache progress_monitor",
        "IOptimizationProfile": "set_shape",
        "OnnxParser": "parse num_errors get_error",
        "Runtime": "deserialize_cuda_engine",
        "ICudaEngine": "num_io_tensors get_tensor_name get_tensor_dtype create_execution_context",
        "IExecutionContext": "set_input_shape get_tensor_shape set_tensor_address execute_async_v3",
    }.items():
        for member in members.split():
            assert hasattr(getattr(trt, name), member), f"{name}.{member}"
    if module != "tensorrt":
        assert hasattr(trt.ICudaEngine, "create_runtime_config") and hasattr(trt.IRuntimeConfig, "set_runtime_cache")
        assert hasattr(trt.IRuntimeCache, "serialize") and hasattr(trt.IRuntimeCache, "deserialize")
