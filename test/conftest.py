"""What every test shares: a DDS domain of its own, and the real data where it is at hand."""

import atexit
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from seg_perception.network import joined

# A test fails by what it finds, never by how busy the machine is.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Neither a robot on the network nor a parallel test run may hear the tests, or be heard. Set at import, before anything
# starts rclpy; nodes started as processes inherit it.
_stack = ExitStack()
_stack.enter_context(joined())
atexit.register(_stack.close)

# A shell's background jobs are born deaf to Ctrl-C, and so would be the programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # under nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real data: the environment's SEG_PERCEPTION_DATA, or shared/data beside the checkout."""
    named = os.environ.get("SEG_PERCEPTION_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; name its folder in SEG_PERCEPTION_DATA")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ratios of times come first: a node in this process changes how it handles memory, for all that comes after."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)
