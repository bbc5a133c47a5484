"""Many bags: each is evaluated once and counted once, whatever dies; the sum is that of all frames."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from eval_fixtures import write_images
from fakes import TWO_LABELS, tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_perception import cli
from seg_perception.errors import SegPerceptionError
from seg_perception.evaluation import many, runners
from seg_perception.labels import CAMVID, VOID
from seg_perception.metrics.scores import Scores
from seg_perception.results import Truth


def make_bag(path: Path, count: int, seed: int) -> None:
    """Every frame of every bag has labels of its own, so that none can stand for another."""
    images, labels = path.parent / f"{path.name}.images", path.parent / f"{path.name}.labels"
    generator = np.random.default_rng(seed)
    labels.mkdir(parents=True)
    for image in write_images(images, count):
        coarse = generator.integers(0, len(CAMVID), (6, 8), dtype=np.uint8)
        cv2.imwrite(str(labels / image.name), np.kron(coarse, np.ones((8, 8), np.uint8)))
    words = ["make-bag", "--images", images, "--labels", labels, "--out", path]
    assert cli.main(list(map(str, words))) == 0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and bags of 2, 3 and 4 frames: north/drive, south/drive and south/park."""
    folder = tmp_path_factory.mktemp("fleet")
    tiny_model(folder / "model.onnx")
    for place, (name, count) in enumerate((("north/drive", 2), ("south/drive", 3), ("south/park", 4))):
        make_bag(folder / "bags" / name, count, place)
    return folder


def evaluate(fleet: Path, out: Path, *words: object) -> tuple[int, dict[str, Any]]:
    command = ["evaluate", "--model", fleet / "model.onnx", "--out", out, *words]
    code = cli.main(list(map(str, command)))
    return code, json.loads((out / "report.json").read_text())


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Number of workers started since the last call. The first of all does its work to the end and is then killed."""
    log, killed = tmp_path / "starts", tmp_path / "killed"
    log.touch()
    python = tmp_path / "python"
    python.write_text(
        f"""#!/bin/sh
echo >> {shlex.quote(str(log))}
{shlex.quote(sys.executable)} "$@"
code=$?
mkdir {shlex.quote(str(killed))} 2> /dev/null && kill -9 $$
exit $code
"""
    )
    python.chmod(0o755)
    monkeypatch.setattr(runners.sys, "executable", str(python))
    told = 0

    def since() -> int:
        nonlocal told
        before, told = told, len(log.read_text().splitlines())
        return told - before

    return since


def test_every_bag_counts_once_whatever_dies(
    fleet: Path, tmp_path: Path, starts: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.mcap"
    broken.write_bytes(b"no bag at all")
    bags, out = fleet / "bags", tmp_path / "out"
    code, numbers = evaluate(fleet, out, "--bag", bags, broken, "--jobs", 2)
    # three bags and the killed one again, and twice the broken one
    assert (code, starts()) == (1, 3 + 1 + 2)
    assert numbers["frames"] == numbers["frames_labelled"] == len({row["name"] for row in numbers["per_frame"]}) == 9
    (problem,) = numbers["problems"]
    assert problem.startswith("broken.mcap: ") and problem in capsys.readouterr().err
    assert [bag["failure"] is None for bag in numbers["bags"]] == [True, True, True, False]

    apart = [json.loads((out / bag["name"] / "report.json").read_text()) for bag in numbers["bags"][:3]]
    assert sorted(one["frames"] for one in apart) == [2, 3, 4]
    confusion = np.sum([one["confusion"] for one in apart], axis=0)
    np.testing.assert_array_equal(numbers["confusion"], confusion)
    hits, union = confusion.diagonal(), confusion.sum(axis=1) + confusion.sum(axis=0)[:-1] - confusion.diagonal()
    assert numbers["miou"] == pytest.approx(np.mean(hits / union)) and 0 < numbers["miou"] < 1

    code, again = evaluate(fleet, out, "--bag", bags)
    assert (code, starts(), again["problems"]) == (0, 0, [])
    kept = ("frames", "confusion", "sums", "miou", "per_frame")
    assert {key: again[key] for key in kept} == {key: numbers[key] for key in kept}
    (out / "park" / "report.json").write_text("{")
    code, again = evaluate(fleet, out, "--bag", bags)
    assert (code, starts(), again["confusion"]) == (0, 1, numbers["confusion"])
    park = bags / "south" / "park"
    code, again = evaluate(fleet, out, "--bag", park, park, "--stride", 2)
    assert (code, starts(), again["frames"]) == (0, 1, 2)


def test_bags_of_which_none_can_be_read_are_no_evaluation(
    fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A CI that takes 1 for what may be lost must not take nothing for all."""
    for name in ("a.mcap", "b.mcap"):
        (tmp_path / name).write_bytes(b"no bag at all")
    code, numbers = evaluate(fleet, tmp_path / "out", "--bag", tmp_path / "a.mcap", tmp_path / "b.mcap", "--jobs", 2)
    assert (code, numbers["frames"], len(numbers["problems"])) == (2, 0, 2)
    assert "b.mcap: not evaluated" in capsys.readouterr().err


def test_a_cluster_loses_nothing_with_a_worker(fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ray cluster of this machine with room for two workers; the first of all does its work to the end, and dies."""
    pytest.importorskip("ray", reason="Ray is not installed: it is the extra 'fleet'")
    from ray.cluster_utils import Cluster

    log, killed, work = tmp_path / "starts", tmp_path / "killed", runners.results_of

    def worker(task: runners.Work, arguments: argparse.Namespace) -> dict[str, bytes]:
        with log.open("a") as file:
            file.write(f"{arguments.bag[0].name}\n")
        files = work(task, arguments)
        try:
            killed.mkdir()
        except FileExistsError:
            return files
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    _, alone = evaluate(fleet, tmp_path / "alone", "--bag", fleet / "bags")
    monkeypatch.setattr(runners, "results_of", worker)
    monkeypatch.chdir(fleet)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        words = ("--bag", "bags", "--runner", "ray", "--address", cluster.address)
        code, numbers = evaluate(Path(), tmp_path / "out", *words)
    finally:
        cluster.shutdown()
    started = log.read_text().split()
    assert (code, len(started), len(set(started)), numbers["problems"]) == (0, 3 + 1, 2, [])
    assert numbers["frames"] == len({row["name"] for row in numbers["per_frame"]}) == 9
    assert numbers["confusion"] == alone["confusion"]


@pytest.mark.parametrize("name", ["0", "17_labels"])
def test_labels_by_the_numbers_of_frames_are_of_one_bag(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else the first bag's labels are those of every bag, and nothing tells."""
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / f"{name}.png").touch()
    (labels / "3_instances.png").touch()
    words = [
        "evaluate",
        "--model",
        "m.onnx",
        "--bag",
        "a",
        "b",
        "--labels",
        labels,
        "--instances",
        labels,
        "--out",
        tmp_path / "o",
    ]
    assert cli.main(list(map(str, words))) == 2
    assert "by the numbers of frames, which every bag has" in capsys.readouterr().err


def test_bags_are_found_and_named(tmp_path: Path) -> None:
    def bag(name: str) -> Path:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "metadata.yaml").touch()
        return tmp_path / name

    first, second, third = bag("a/drive"), bag("b/deep/drive"), bag("b/park")
    bag("out/park"), bag("b/.hidden/park")
    (tmp_path / "b" / "old.bag").touch()
    (tmp_path / "b" / "notes.txt").touch()
    cut_off = tmp_path / "b" / "cut_off"
    cut_off.mkdir()
    (cut_off / "cut_off_0.mcap").touch()
    out = tmp_path / "out"
    found = many.find_bags([tmp_path, first, first / ".." / "drive"], out)
    assert {bag.path for bag in found} == {first, second, third, cut_off, tmp_path / "b" / "old.bag"}
    names = {bag.path: bag.name for bag in found}
    assert len(set(names.values())) == len(found) == 5
    assert names[third] == "park" and names[tmp_path / "b" / "old.bag"] == "old.bag"
    assert names[first].startswith("drive-") and names[second].startswith("drive-")
    # the same names, whatever else is asked for
    assert {bag.path: bag.name for bag in many.find_bags([second, first], out)}[first] == names[first]
    assert many.is_fleet([tmp_path]) and many.is_fleet([first, second])
    assert not many.is_fleet([first]) and not many.is_fleet([cut_off]) and not many.is_fleet([tmp_path / "missing"])
    with pytest.raises(SegPerceptionError, match="there is no bag"):
        many.find_bags([first, tmp_path / "missing"], out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SegPerceptionError, match="holds no bags"):
        many.find_bags([tmp_path / "empty"], out)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), parts=st.lists(st.integers(0, 3), min_size=1, max_size=4), things=st.booleans())
def test_sums_of_parts_are_those_of_all_frames(seed: int, parts: list[int], things: bool) -> None:
    generator = np.random.default_rng(seed)
    whole, total = Scores(TWO_LABELS), Scores(TWO_LABELS)
    for frames in parts:
        part = Scores(TWO_LABELS)
        for _ in range(frames):
            semantic, true = generator.choice(np.array([0, 1, VOID], np.uint8), (2, 6, 7))
            instance, true_instance = generator.integers(0, 3, (2, 6, 7)).astype(np.uint16)
            for scores in (whole, part):
                scores.add(semantic, instance, Truth(true, true_instance if things else None))
        total.add_summary(json.loads(json.dumps(part.summary())), part.frames)
    assert total.frames == whole.frames
    expected, found = whole.summary(), total.summary()
    assert found["confusion"] == expected["confusion"]
    for key, value in expected.items():
        if key not in ("confusion", "sums"):
            assert found[key] == pytest.approx(value, abs=1e-12), key
