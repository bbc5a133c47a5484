"""What every test shares: a DDS domain of its own, and the real data where it is at hand."""

import os
import signal
from pathlib import Path

import pytest

# Parallel test runs on one machine must not hear each other. Set at import, before anything starts rclpy; nodes started
# as processes inherit it. Domains up to 101 are free of the ports that Linux hands out by itself.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 101)

# A shell's background jobs are born deaf to Ctrl-C, and so would be the programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real data: the environment's SEG_PERCEPTION_DATA, or shared/data beside the checkout."""
    named = os.environ.get("SEG_PERCEPTION_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; name its folder in SEG_PERCEPTION_DATA")
    return folder
