"""The policy is the node's, the node opens no port of its own, and nothing on its way runs code that came as data."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest
from places import CHECKOUT
from ros_harness import NodeProcess, Peer

from seg_perception.ros.topics import DIAGNOSTICS, INPUTS, OUTPUTS, SELF_TEST

PACKAGE = CHECKOUT / "seg_perception"
POLICY = CHECKOUT / "config" / "sros2" / "policy.xml"
OFF_THE_WAY = (
    *("play", "evaluation", "recordings", "training", "gpu_check", "benchmark", "reports", "datasets"),
    *("dashboard", "labelling", "auto"),
)
"""Rooms that the node does not import."""


def allowed(item: str, act: str) -> set[str]:
    """Names that the policy allows."""
    profile = ElementTree.parse(POLICY).getroot().find("enclaves/enclave/profiles/profile")
    assert profile is not None and dict(profile.attrib) == {"ns": "/", "node": "segmentation"}
    groups = [group for group in profile.findall(f"{item}s") if group.get(act) == "ALLOW"]
    return {str(entry.text) for group in groups for entry in group.findall(item)}


def test_the_policy_allows_the_topics_of_the_table_and_those_of_ros_itself() -> None:
    own = {f"/segmentation/{topic.name}" for topic in (*OUTPUTS, SELF_TEST)}
    assert allowed("topic", "publish") - own == {
        DIAGNOSTICS.name, "/parameter_events", "/rosout", "/segmentation/transition_event",
    }  # fmt: skip
    assert own <= allowed("topic", "publish")
    inputs = {f"/{topic.name}" for topic in INPUTS}
    assert inputs <= allowed("topic", "subscribe")
    assert allowed("topic", "subscribe") - inputs == {"/clock", "/parameter_events", "/tf", "/tf_static"}


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_the_running_node_keeps_to_the_policy_and_opens_no_port(
    start: Callable[..., NodeProcess], peer: Peer, transport: str
) -> None:
    process = start(image_transport=transport)
    node = peer.node
    own = "segmentation", "/"

    def names(ask: Callable[[str, str], list[tuple[str, list[str]]]]) -> set[str]:
        return {name for name, _ in ask(*own)}

    def reached() -> bool:
        wanted = f"/image{'/compressed' if transport == 'compressed' else ''}"
        return own in node.get_node_names_and_namespaces() and wanted in names(
            node.get_subscriber_names_and_types_by_node
        )

    peer.until(reached, "the node in the graph")
    assert names(node.get_publisher_names_and_types_by_node) <= allowed("topic", "publish")
    assert names(node.get_subscriber_names_and_types_by_node) <= allowed("topic", "subscribe")
    services = names(node.get_service_names_and_types_by_node)
    assert services <= allowed("service", "reply")
    # Type descriptions are served from Iron on.
    assert allowed("service", "reply") - services <= {"/segmentation/get_type_description"}
    assert not names(node.get_client_names_and_types_by_node)
    program = psutil.Process(process.pid)
    everyone = [program, *program.children(recursive=True)]
    ask = "net_connections" if hasattr(program, "net_connections") else "connections"
    assert [found for one in everyone for found in getattr(one, ask)(kind="tcp")] == []


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_that_came_as_data_is_run(path: Path) -> None:
    """On the node's way: no pickle, no socket but that of a play. Anywhere: no eval, weights alone from checkpoints."""
    on_the_way = path.relative_to(PACKAGE).parts[0] not in (*OFF_THE_WAY, "network.py")
    for part in ast.walk(ast.parse(path.read_text())):
        if isinstance(part, (ast.Import, ast.ImportFrom)) and on_the_way:
            modules = {part.module or ""} if isinstance(part, ast.ImportFrom) else {name.name for name in part.names}
            tops = {module.partition(".")[0] for module in modules}
            assert not tops & {"pickle", "marshal", "shelve", "dill", "joblib", "socket", "http", "urllib", "xmlrpc"}
        if isinstance(part, ast.Call):
            name = ast.unparse(part.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in part.keywords}
            assert name not in ("eval", "exec", "yaml.load", "yaml.unsafe_load", "os.system"), name
            assert name != "torch.load" or given.get("weights_only") == "True"
            assert name not in ("np.load", "numpy.load") or given.get("allow_pickle", "False") == "False"
