"""The kernels, compiled once for all tests of this folder."""

import pytest
from fake_cuda import compile_for_cpu


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    try:
        return compile_for_cpu(tmp_path_factory.mktemp("kernels"))
    except FileNotFoundError as error:
        pytest.skip(f"the kernels cannot be compiled for the CPU: {error}")
