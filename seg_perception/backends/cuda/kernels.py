"""Compiles kernels.cu and steady.cu for the GPU at hand, by NVRTC, and launches its kernels. Needs no CUDA compiler."""

from __future__ import annotations

import ctypes
import importlib
import re
from pathlib import Path
from typing import Any

from seg_perception.backends.cuda.driver import Gpu, Stream
from seg_perception.errors import BackendError, SegPerceptionError

SOURCES = tuple(Path(__file__).with_name(name) for name in ("kernels.cu", "steady.cu"))
"""One behind the other, they are one source."""
OPTIONS = ("--std=c++14", "--fmad=false")
"""Without fused multiply-adds the GPU rounds as the CPU does."""
BLOCK = 128
"""Threads a block: none of the kernels shares anything within one."""


def _fields(kinds: dict[Any, str]) -> list[tuple[str, Any]]:
    return [(name, kind) for kind, names in kinds.items() for name in names.split()]


class Resize(ctypes.Structure):
    """struct Resize of the source, which explains the fields."""

    _fields_ = _fields(
        {
            ctypes.c_void_p: "source target",
            ctypes.c_int: "row_bytes pixel_bytes red green blue source_height source_width height width halvings_y"
            " halvings_x",
        }
    )


class Decode(ctypes.Structure):
    """struct Decode of the source, which explains the fields."""

    _fields_ = _fields(
        {
            ctypes.c_void_p: "logits heatmap offset is_thing is_ground low_y low_x weight_y weight_x winner peak share"
            " ground peak_cells centers votes elected class_sets center_sets semantic confidence instance tally areas scores"
            " numbers state",
            ctypes.c_double: "center_threshold least_thing_area cell_height cell_width vote_scale_y vote_scale_x reach"
            " least_ground",
            ctypes.c_int: "classes h w height width radius max_instances least_confidence with_confidence"
            " with_instances",
        }
    )


class Steady(ctypes.Structure):
    """struct Steady of the source, which explains the fields."""

    _fields_ = _fields(
        {
            ctypes.c_void_p: "image grey logits stuff is_obstacle back weights past_odds past_best odds found best"
            " is_border",
            ctypes.c_int: "h w halvings count",
        }
    )


STRUCTS = (Resize, Decode, Steady)


def source() -> str:
    """All kernels, in C++."""
    return "\n".join(path.read_text() for path in SOURCES)


class CudaKernels:
    """The compiled source, loaded on the GPU in use."""

    def __init__(self, gpu: Gpu, nvrtc: Any = None, driver: Any = None) -> None:
        """nvrtc, driver: None = cuda-python's. Raises SegPerceptionError when the kernels cannot be compiled or loaded."""
        self._driver = driver or _import("driver")
        code = compile_for(gpu.compute_capability, nvrtc or _import("nvrtc"))
        self._module = self._call("cuModuleLoadData", code)
        self._functions: dict[str, Any] = {}

    def check_all(self) -> list[str]:
        """Names of all kernels of the source. Raises SegPerceptionError for one that the GPU did not load."""
        names: list[str] = re.findall(r"^KERNEL (\w+)\(", source(), re.MULTILINE)
        for name in names:
            self._function(name)
        return names

    def launch(self, name: str, threads: int, arguments: Resize | Decode | Steady, stream: Stream) -> None:
        """Queue a kernel for at least this many threads; arguments are copied."""
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
        blocks = -(-threads // BLOCK)
        self._call(
            "cuLaunchKernel",
            self._function(name),
            *(blocks, 1, 1),
            *(BLOCK, 1, 1),
            0,
            stream.handle,
            ctypes.addressof(pointers),
            0,
        )

    def unload(self) -> None:
        """Give the module back; may be called twice."""
        if self._module is not None:
            module, self._module = self._module, None
            self._call("cuModuleUnload", module)

    def _function(self, name: str) -> Any:
        if name not in self._functions:
            self._functions[name] = self._call("cuModuleGetFunction", self._module, name.encode())
        return self._functions[name]

    def _call(self, function: str, *arguments: Any) -> Any:
        error, *results = getattr(self._driver, function)(*arguments)
        if error != self._driver.CUresult.CUDA_SUCCESS:
            _, text = self._driver.cuGetErrorString(error)
            reason = text.decode() if isinstance(text, bytes) else str(error)
            raise BackendError(f"CUDA's {function} failed ({reason}): check nvidia-smi and the driver")
        return results[0] if results else None


def compile_for(compute_capability: str, nvrtc: Any, more: str = "") -> bytes:
    """Machine code (cubin) of the kernels for GPUs of a compute capability such as '8.7'; needs no GPU.

    Machine code rather than PTX, which a driver older than NVRTC would refuse. nvrtc: cuda.bindings.nvrtc. more: C++ to
    compile behind the source.
    Raises SegPerceptionError when NVRTC is missing or does not know such GPUs.
    """
    options = [f"--gpu-architecture=sm_{compute_capability.replace('.', '')}", *OPTIONS]
    try:
        code = (source() + more).encode()
        program = _checked(nvrtc, "nvrtcCreateProgram", code, SOURCES[0].name.encode(), 0, [], [])
    except (RuntimeError, OSError) as error:  # cuda-python's way to say that the library is not there
        raise SegPerceptionError(
            f"CUDA's run-time compiler NVRTC cannot be loaded ({' '.join(str(error).split())[:200]}): "
            "install nvidia-cuda-nvrtc for this CUDA"
        ) from error
    try:
        try:
            _checked(nvrtc, "nvrtcCompileProgram", program, len(options), [option.encode() for option in options])
        except SegPerceptionError as error:
            log = bytearray(_checked(nvrtc, "nvrtcGetProgramLogSize", program))
            _checked(nvrtc, "nvrtcGetProgramLog", program, log)
            raise SegPerceptionError(
                f"{error}; its log for compute capability {compute_capability}: {log.decode().strip(chr(0))[:300]}"
            ) from error
        cubin = bytearray(_checked(nvrtc, "nvrtcGetCUBINSize", program))
        _checked(nvrtc, "nvrtcGetCUBIN", program, cubin)
        return bytes(cubin)
    finally:
        _checked(nvrtc, "nvrtcDestroyProgram", program)


def _checked(nvrtc: Any, function: str, *arguments: Any) -> Any:
    error, *results = getattr(nvrtc, function)(*arguments)
    if error != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        _, text = nvrtc.nvrtcGetErrorString(error)
        reason = text.decode() if isinstance(text, bytes) else str(error)
        raise SegPerceptionError(f"NVRTC's {function} failed ({reason}): install an NVRTC that knows this GPU")
    return results[0] if results else None


def _import(name: str) -> Any:
    try:
        return importlib.import_module(f"cuda.bindings.{name}")
    except ImportError as error:
        raise SegPerceptionError(
            f"'cuda.bindings.{name}' cannot be imported ({error}): install cuda-bindings for this CUDA"
        ) from error
