"""Whether the kernels compile for this GPU, or without one for GPUs of robots; and whether the GPU loads them."""

from __future__ import annotations

import ctypes
import importlib
import time

from seg_perception.backends.cuda.kernels import STRUCTS, compile_for
from seg_perception.gpu_check.lab import Lab

ROBOTS = {"8.7": "Orin", "8.9": "Ada", "9.0": "Hopper", "11.0": "Thor", "12.0": "Blackwell"}


def check(lab: Lab) -> None:
    """Compile, and with a GPU load."""
    nvrtc = lab.libraries.nvrtc or importlib.import_module("cuda.bindings.nvrtc")
    has_gpu = "gpu" not in lab.libraries.missing()
    targets = {lab.cuda.gpu().compute_capability: "this GPU"} if has_gpu else ROBOTS
    for capability, name in targets.items():
        with lab.part(f"kernels compile for {name} ({capability})"):
            began = time.perf_counter()
            code = compile_for(capability, nvrtc)
            took_ms = 1e3 * (time.perf_counter() - began)
            lab.check(f"kernels compile for {name} ({capability})", bool(code), f"{took_ms:.0f} ms, {len(code)} bytes")
            if not lab.quick:
                compile_for(capability, nvrtc, _layout())
                lab.check(f"structs lie as ctypes lays them, {capability}", True, "by static assertions")
    if has_gpu:
        with lab.part("kernels load"):
            kernels = lab.kernels
            names = kernels.check_all()
            lab.check("kernels load, each is there", len(names) > 10, f"{len(names)} kernels")
    else:
        lab.leave_out("kernels load", "no GPU")


def _layout() -> str:
    """C++ that compiles only where the compiler lays out the structs as ctypes does."""
    lines = []
    for struct in STRUCTS:
        lines.append(f'static_assert(sizeof({struct.__name__}) == {ctypes.sizeof(struct)}, "size");')
        for name, _ in struct._fields_:
            offset = getattr(struct, name).offset
            lines.append(f'static_assert(__builtin_offsetof({struct.__name__}, {name}) == {offset}, "{name}");')
    return "\n".join(lines)
