"""Whatever comes, a frame is answered or refused with a sentence, at the price of a good one; and the fuzzer finds faults."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import fuzz
import numpy as np
import pytest
from bad_messages import bad_message
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_perception.camera.encodings import ENCODINGS
from seg_perception.camera.messages import BadImageError, ImageReader, check_image
from seg_perception.camera.preprocess import Preprocessor
from seg_perception.results import Frame

SIDES = st.one_of(st.integers(0, 40), st.sampled_from([65_535, 2**31, 2**32 - 1]))


@settings(max_examples=400, deadline=None)
@given(
    encoding=st.one_of(st.sampled_from(sorted(ENCODINGS)), st.text(max_size=20)),
    height=SIDES,
    width=SIDES,
    step=SIDES,
    big=st.integers(0, 255),
    data=st.binary(max_size=20_000),
)
def test_any_fields_give_the_image_they_say_or_one_of_the_causes(
    encoding: str, height: int, width: int, step: int, big: int, data: bytes
) -> None:
    sent = SimpleNamespace(encoding=encoding, height=height, width=width, step=step, is_bigendian=big, data=data)
    try:
        check_image(sent)
    except BadImageError as error:
        assert error.cause in ("wrong_encoding", "empty", "truncated", "too_large", "too_narrow")
        assert len(str(error)) < 400 + len(encoding)
        return
    frame = Frame(ImageReader().read(sent))
    assert frame.size_hw == (height, width) == frame.rgb.shape[:2]
    assert Preprocessor((32, 64))(frame).shape == (1, 32, 64, 3)


@pytest.fixture(scope="module")
def fuzzer() -> fuzz.Fuzzer:
    return fuzz.Fuzzer()


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**63 - 1))
def test_whatever_comes_is_answered_or_refused(fuzzer: fuzz.Fuzzer, seed: int) -> None:
    """Reader, preprocessing, decode and ground, with outputs of a network and calibrations that are no better."""
    found = fuzz.Found()
    fuzzer.send(seed, found)
    fuzzer.send(0, found)  # a good frame after it
    assert not found.faults, found.faults


def test_a_message_is_that_of_its_number() -> None:
    for seed in range(40):
        first, second = bad_message(seed), bad_message(seed)
        assert (first.kind, first.family, first.pixels) == (second.kind, second.family, second.pixels)
        assert bytes(first.message.data) == bytes(second.message.data)


def _sent(monkeypatch: pytest.MonkeyPatch, read: Any, fuzzer: fuzz.Fuzzer, seeds: range) -> fuzz.Found:
    found = fuzz.Found()
    monkeypatch.setattr(ImageReader, "read", read)
    for seed in seeds:
        fuzzer.send(seed, found)
    return found


def test_the_fuzzer_tells_what_is_slow_what_is_wrong_and_what_raises(
    fuzzer: fuzz.Fuzzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ImageReader.read
    fair = max(fuzzer.fair_to(bad_message(seed)).see for seed in (1, 2))  # on a full machine that is much longer

    def slow(self: ImageReader, message: Any) -> Any:
        until = time.process_time() + 2 * fuzz.SLOW * fair
        while time.process_time() < until:
            pass
        return read(self, message)

    def raises(self: ImageReader, message: Any) -> Any:
        raise ValueError("as from NumPy")

    def dark(self: ImageReader, message: Any) -> Any:
        return np.zeros((96, 130, 3), np.uint8)

    assert any("times as long" in fault for fault in _sent(monkeypatch, slow, fuzzer, range(1, 3)).faults)
    assert any("as from NumPy" in fault for fault in _sent(monkeypatch, raises, fuzzer, range(1, 2)).faults)
    assert _sent(monkeypatch, dark, fuzzer, range(0, 1)).faults == ["the good frame 0 got other masks"]


def test_a_process_that_dies_is_a_fault_and_the_rest_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    found = fuzz.fuzz(0, 10, 10, work=_dies_at_7)
    assert found.faults == ["message 7 ends the process (3)"] and found.messages == 2
    assert "answered all the same" in fuzz.told(found)


def _dies_at_7(first: int, end: int, place: Any, results: Any) -> None:
    found = fuzz.Found()
    for place.value in range(first, end):
        if place.value == 7:
            raise SystemExit(3)
        found.messages += 1
    results.send(found)
