"""A domain, a model, a peer and the node as a process, for every test that plays to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ros_harness import NodeProcess, Peer, make_tiny_model, ros_domain


@pytest.fixture(scope="module")
def domain() -> Iterator[None]:
    with ros_domain():
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture
def peer(domain: None) -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def start(domain: None, model: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Start the node with parameters, `__` for the dot in their names, and faults of faults.py."""
    running: list[NodeProcess] = []

    def begin(faults: Sequence[str] = (), **parameters: Any) -> NodeProcess:
        named = {name.replace("__", "."): value for name, value in parameters.items()}
        given = {"model": str(model), "backend": "onnxruntime", "use_tf": False, **named}
        running.append(NodeProcess(given, faults=faults))
        return running[-1]

    yield begin
    for process in running:
        process.close()
