"""A replay never reaches a robot: the domain is empty and stays one's own, and nothing leaves the machine."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from seg_perception import network
from seg_perception.errors import SegPerceptionError
from seg_perception.network import joined, loopback

ROBOT_PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns="http://www.eprosima.com"><profiles><transport_descriptors><transport_descriptor>
<transport_id>udp</transport_id><type>UDPv4</type><interfaceWhiteList><address>{address}</address></interfaceWhiteList>
</transport_descriptor></transport_descriptors><participant profile_name="robot" is_default_profile="true"><rtps>
<userTransports><transport_id>udp</transport_id></userTransports><useBuiltinTransports>false</useBuiltinTransports>
</rtps></participant></profiles></dds>"""

LOOK = """
import sys, time
import rclpy
rclpy.init()
node = rclpy.create_node(sys.argv[1])
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end and sys.argv[3] not in node.get_node_names():
    rclpy.spin_once(node, timeout_sec=0.1)
print(*node.get_node_names(), flush=True)
sys.stdin.read()
"""


def address_on_a_network() -> str:
    """Of this machine, on an interface that is not the loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine is on no network")
        address: str = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine is on no network")
    return address


def test_the_domain_of_the_environment_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "77")
    monkeypatch.setenv("ROS_DISCOVERY_SERVER", "robot:11811")
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "/robot/profile.xml")
    with joined() as mine:
        assert mine.domain != 77 and not mine.shared
        assert os.environ["ROS_DOMAIN_ID"] == str(mine.domain)
        assert "ROS_DISCOVERY_SERVER" not in os.environ
        named = os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE") or os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"]
        assert Path(named).name == "fastdds_loopback.xml"
        assert mine.node_name != "segmentation"
    assert os.environ["ROS_DOMAIN_ID"] == "77" and os.environ["ROS_DISCOVERY_SERVER"] == "robot:11811"


def test_two_plays_at_once_have_a_domain_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where both begin to look at the same one, and no node is on either yet."""
    monkeypatch.setattr(network.os, "getpid", lambda: 40)
    monkeypatch.setenv("ROS_DOMAIN_ID", "0")
    (mine, claim), (another, other_claim) = network._claim_domain(), network._claim_domain()
    with claim, other_claim:
        assert mine != another


def test_nor_is_it_where_it_is_empty_and_would_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "77")
    monkeypatch.setattr(network.os, "getpid", lambda: 76)
    with joined() as mine:
        assert mine.domain != 77


def test_a_named_domain_is_the_environments_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DISCOVERY_SERVER", "robot:11811")
    with joined(77) as named:
        assert (named.domain, named.node_name, named.shared) == (77, "segmentation", True)
        assert (os.environ["ROS_DOMAIN_ID"], os.environ["ROS_DISCOVERY_SERVER"]) == ("77", "robot:11811")
    with pytest.raises(SegPerceptionError, match="--domain is 300"), joined(300):
        pass


@pytest.mark.parametrize("offset", [0, 1, 10, 12, 87, 249])
def test_a_domain_with_any_of_its_ports_bound_is_not_empty(offset: int) -> None:
    """Participants come and go: the first one's port is free while the fortieth lives on."""
    with joined() as mine:
        assert network.is_empty(mine.domain)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as robot:
            robot.bind(("127.0.0.1", 7400 + 250 * mine.domain + offset))
            assert not network.is_empty(mine.domain)
        assert network.is_empty(mine.domain)


def test_a_domain_with_a_live_participant_in_shared_memory_is_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "PORT_LOCKS", (str(tmp_path / "fastdds_port{}_el"),))
    with joined() as mine, (tmp_path / f"fastdds_port{7411 + 250 * mine.domain}_el").open("w") as lock:
        assert network.is_empty(mine.domain), "its owner is dead"
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not network.is_empty(mine.domain)


def test_the_two_profiles_differ_by_the_interface_alone() -> None:
    body = network.profile().read_text().partition("-->")[2]
    loopback_body = network.profile("fastdds_loopback.xml").read_text().partition("-->")[2]
    lines = [line for line in loopback_body.splitlines() if line not in body.splitlines()]
    assert [line.strip() for line in lines] == [
        "<maxInitialPeersRange>32</maxInitialPeersRange>",
        "<interfaceWhiteList>",
        "<address>127.0.0.1</address>",
        "</interfaceWhiteList>",
    ]


def test_nobody_on_the_network_discovers_what_is_played(tmp_path: Path) -> None:
    """A robot elsewhere is a participant that has the network's interface alone; another player on this machine, found
    meanwhile, shows that there was time."""
    pytest.importorskip("rclpy", reason="needs ROS 2")
    profile = tmp_path / "robot.xml"
    profile.write_text(ROBOT_PROFILE.format(address=address_on_a_network()))
    with joined() as mine:
        changes = {"ROS_DOMAIN_ID": str(mine.domain), **loopback(os.environ)}
        environment = {**{name: value for name, value in os.environ.items() if name not in changes}}
        player = {**environment, **{name: value for name, value in changes.items() if value is not None}}
        robot = {**environment, "ROS_DOMAIN_ID": str(mine.domain), "FASTDDS_DEFAULT_PROFILES_FILE": str(profile)}
        words = [("player_1", player, "player_2"), ("player_2", player, "player_1"), ("robot", robot, "player_1")]
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", LOOK, name, "5" if name == "robot" else "60", wanted],
                env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for name, env, wanted in words
        ]  # fmt: skip
        lines = [process.stdout.readline() for process in processes if process.stdout]
        for process in processes:
            process.communicate("")
    assert {*lines[0].split()} == {*lines[1].split()} == {"player_1", "player_2"}
    assert lines[2].split() == ["robot"]


def test_a_middleware_whose_domains_cannot_be_seen_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """rmw_zenoh binds none of DDS's ports, so a robot's domain would look empty; its router leads to other machines."""
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_zenoh_cpp")
    with pytest.raises(SegPerceptionError, match="RMW_IMPLEMENTATION is rmw_zenoh_cpp"), joined():
        pass
    with joined(77) as named:
        assert named.shared
