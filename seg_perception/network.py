"""The network of a play: this machine alone, on a DDS domain that nobody else is on, unless a domain is named.

A recorded drive that a robot hears is an order to drive: its grid and its masks look like those of now. So the domain of
the environment is never used by itself, discovery stays on the loopback interface, and the segmentation node there has a
name of its own. Needs no ROS.
"""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seg_perception.errors import SegPerceptionError
from seg_perception.fast_dds import NEW, OLD, is_locked, profile_environment, profile_variable
from seg_perception.options import whole

PACKAGE, NODE = "seg_perception", "segmentation"
DOMAINS = range(1, 101)
"""To choose from: those above 101 lie where Linux hands out ports by itself."""
MOST_DOMAIN = 232
FIRST_PORT, PORTS_PER_DOMAIN, UNUSED_PORT = 7400, 250, 5
"""DDS's ports by domain (DDSI-RTPS 2.3, 9.6.1.1): of the 250 of a domain no participant ever uses the sixth, which is
bound for as long as the domain is taken."""
LEADS_ELSEWHERE = (
    "ROS_DISCOVERY_SERVER",
    "ROS_SUPER_CLIENT",
    "ROS_STATIC_PEERS",
    "FASTDDS_ENVIRONMENT_FILE",
    "FASTDDS_BUILTIN_TRANSPORTS",
    "CYCLONEDDS_URI",
)
"""Variables by which a participant finds others beyond this machine."""
LOCALHOST = {"ROS_LOCALHOST_ONLY": "1", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
"""The same wish as Humble and as later ones name it."""
UNSEEN = "zenoh"
"""Part of the name of the middleware that binds none of DDS's ports, and whose router leads to other machines."""
PORT_LOCKS = ("/dev/shm/fastdds_port{}_el", "/dev/shm/fastrtps_port{}_el")
"""What a live participant of Fast DDS 3 and 2 keeps locked, by port."""


@dataclass(frozen=True)
class Network:
    """Of this process and those it starts. node_name: of the segmentation node; shared: the domain was named by the
    user, so that other nodes may be on it, to watch."""

    domain: int
    node_name: str
    shared: bool = False


@contextmanager
def joined(domain: int | None = None) -> Iterator[Network]:
    """Set the environment of this process, and so of what it starts, to a network for the time of the block.

    domain: named by the user, with the network that the environment says; None: loopback, and a domain that is empty and
    that no other play takes meanwhile. Raises SegPerceptionError when there is none.
    """
    if domain is not None:
        if not 0 <= domain <= MOST_DOMAIN:
            raise SegPerceptionError(f"--domain is {domain}: DDS knows 0 to {MOST_DOMAIN}")
        with _environment({"ROS_DOMAIN_ID": str(domain), **profile_environment(os.environ, profile())}):
            yield Network(domain, NODE, shared=True)
        return
    middleware = os.environ.get("RMW_IMPLEMENTATION", "")
    if UNSEEN in middleware:
        raise SegPerceptionError(
            f"RMW_IMPLEMENTATION is {middleware}, with which nobody can see whether a domain is empty: unset it for a play, "
            "or name a domain by --domain"
        )
    number, claim = _claim_domain()
    with claim, _environment({"ROS_DOMAIN_ID": str(number), **loopback(os.environ)}):
        yield Network(number, f"{NODE}_{os.getpid()}")


def add_domain_argument(parser: argparse._ActionsContainer) -> None:
    """The option of every verb that plays to the node."""
    parser.add_argument(
        "--domain",
        type=whole("--domain", 0, MOST_DOMAIN),
        metavar="N",
        help="ROS domain to play on for others to watch, such as $ROS_DOMAIN_ID, in the network that the environment says "
        "(default: one that nobody else is on, on this machine alone)",
    )


def loopback(environment: Mapping[str, str]) -> dict[str, str | None]:
    """What to set in an environment, None: to take away, so that nothing leaves this machine, whichever middleware."""
    changes: dict[str, str | None] = dict.fromkeys((*LEADS_ELSEWHERE, *LOCALHOST, OLD, NEW))
    changes[profile_variable(environment.get("ROS_DISTRO"))] = str(profile("fastdds_loopback.xml"))
    # with the profile these would have Fast DDS add transports of its own, which open other interfaces again
    if "fastrtps" not in environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"):
        changes |= LOCALHOST
    return changes


def profile(name: str = "fastdds_shm.xml") -> Path:
    """A Fast DDS profile that gives whole images room, in the checkout or where the package is installed."""
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    roots = [Path(__file__).resolve().parents[1], *(Path(prefix) / "share" / PACKAGE for prefix in prefixes if prefix)]
    places = [root / "config" / name for root in roots]
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(map(str, places))
    raise SegPerceptionError(f"the Fast DDS profile {name} is at none of {looked}: install the package's config folder")


def is_empty(domain: int) -> bool:
    """Whether no participant of any program on this machine is on a domain: none of its ports is bound, by UDP or by
    Fast DDS's shared memory."""
    first = FIRST_PORT + PORTS_PER_DOMAIN * domain
    ports = set(range(first, first + PORTS_PER_DOMAIN)) - {first + UNUSED_PORT}
    return not (
        ports & _udp_ports() or any(is_locked(Path(lock.format(port))) for port in ports for lock in PORT_LOCKS)
    )


def _claim_domain() -> tuple[int, socket.socket]:
    """A domain that is empty and stays this process's while the socket is open, from a start that differs."""
    shift, environments = os.getpid() % len(DOMAINS), os.environ.get("ROS_DOMAIN_ID", "0")
    for domain in (*DOMAINS[shift:], *DOMAINS[:shift]):
        if str(domain) == environments:  # where the robot is that this shell belongs to, though not heard from here
            continue
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", FIRST_PORT + PORTS_PER_DOMAIN * domain + UNUSED_PORT))
        except OSError:
            claim.close()
            continue
        if is_empty(domain):
            return domain, claim
        claim.close()
    raise SegPerceptionError(
        f"every ROS domain of {DOMAINS[0]} to {DOMAINS[-1]} is in use on this machine: end some of the programs, or name "
        "one by --domain"
    )


def _udp_ports() -> set[int]:
    """Every UDP port that is bound in this network namespace, whoever's."""
    return {
        int(line.split()[1].rpartition(":")[2], 16)
        for name in ("udp", "udp6")
        if (table := Path("/proc/net") / name).is_file()
        for line in table.read_text().splitlines()[1:]
    }


@contextmanager
def _environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    _change(changes)
    try:
        yield
    finally:
        _change(before)


def _change(changes: Mapping[str, str | None]) -> None:
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
