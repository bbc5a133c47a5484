"""The arithmetic of diagnostics, on made-up times."""

from __future__ import annotations

import pytest

from seg_perception.ros.diagnostics import (
    ERROR,
    GROUND_UNWATCHED,
    KEPT,
    OK,
    STALE,
    STATES,
    WARN,
    CameraMonitor,
    GroundState,
    node_status,
    percentile,
)


def monitor() -> CameraMonitor:
    return CameraMonitor("/front/image", timeout_s=2.0, now_s=100.0)


def test_rates_count_the_last_five_seconds() -> None:
    camera = monitor()
    for i in range(300):  # 30 Hz in, every third one out, over 10 s
        now = 100.0 + i / 30
        camera.received(now)
        if i % 3 == 0:
            camera.finished(now, 20.0, 25.0, {"network": 15.0})
        else:
            camera.replaced()
    status = camera.status(100.0 + 299 / 30)
    assert status.level == OK and status.message == "running"
    assert float(status.values["input_rate_hz"]) == pytest.approx(30, rel=0.02)
    assert float(status.values["output_rate_hz"]) == pytest.approx(10, rel=0.02)
    assert (status.values["frames_in"], status.values["frames_out"], status.values["dropped"]) == ("300", "100", "200")


def test_rate_soon_after_the_start_is_not_diluted_by_the_whole_window() -> None:
    camera = monitor()
    for i in range(1, 31):
        camera.received(100.0 + i / 30)
    assert float(camera.status(101.0).values["input_rate_hz"]) == pytest.approx(30)


def test_latencies_are_percentiles_of_the_latest_frames() -> None:
    camera = monitor()
    for _ in range(KEPT):
        camera.finished(100.0, 1000.0, 0.0, {})
    for i in range(KEPT):
        camera.finished(100.0, float(i), 5.0, {"decode": 2.0})
    values = camera.status(100.0).values
    assert float(values["age_ms_p50"]) == pytest.approx((KEPT - 1) / 2, abs=0.01)
    assert float(values["age_ms_p95"]) == pytest.approx(0.95 * (KEPT - 1), abs=0.01)
    assert values["stamp_age_ms_p50"] == "5.00" and values["decode_ms_p95"] == "2.00"


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 2.5), (0.95, 3.85), (1.0, 4.0)])
def test_percentile_lies_between_neighbours(share: float, expected: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == pytest.approx(expected)


def test_a_silent_camera_is_stale_and_says_since_when() -> None:
    camera = monitor()
    assert camera.status(101.9).level == OK
    assert camera.status(103.0).message == "no image yet on /front/image for 3.0 s"
    camera.received(104.0)
    assert camera.status(105.0).level == OK
    status = camera.status(107.5)
    assert status.level == STALE
    assert status.message == "camera stalled: no image on /front/image for 3.5 s"
    assert status.values["camera_stalled"] == "true"


def test_a_silence_begins_and_ends_without_being_asked_for_its_status() -> None:
    camera = monitor()
    assert [camera.silence(now_s) for now_s in (101.9, 102.1)] == [(False, False), (True, False)]
    camera.received(104.0)
    camera.accepted(104.0)
    assert [camera.silence(now_s) for now_s in (104.1, 106.1)] == [(False, False), (True, True)]
    camera.received(106.2)
    assert camera.silence(106.3) == (False, True)
    camera.answered(104.0)
    assert camera.silence(106.3) == (False, False)


def test_images_that_come_while_nothing_goes_out_are_an_error_that_says_since_when() -> None:
    camera = monitor()

    def frame(arrived_s: float) -> None:
        camera.received(arrived_s)
        camera.accepted(arrived_s)

    frame(101.0)
    camera.answered(101.0)
    for arrived_s in (102.0, 102.5, 103.0, 104.0):
        frame(arrived_s)
    assert camera.status(104.0).level == OK
    status = camera.status(104.5)
    assert (status.level, status.values["hangs"]) == (ERROR, "true")
    assert status.message == "images come on /front/image, nothing goes out since 2.5 s"
    camera.answered(103.0)
    assert camera.status(104.5).values["hangs"] == "false", "those before the answered one will have no answer"
    camera.accepted(102.9)
    assert camera.status(107.0).values["hangs"] == "false", "told after its answer"


def test_outputs_older_than_a_limit_are_a_warning_for_as_long_as_the_window() -> None:
    camera = CameraMonitor("/image", timeout_s=2.0, now_s=100.0, max_age_s=0.5)
    for now_s, age_ms in ((101.0, 400.0), (101.5, 900.0), (102.0, 600.0), (106.4, 20.0)):
        camera.received(now_s)
        camera.finished(now_s, age_ms, age_ms, {})
        expected = (
            (OK, "running") if age_ms == 400 else (WARN, "outputs are up to 0.9 s old, more than max_age (0.5 s)")
        )
        status = camera.status(now_s)
        assert (status.level, status.message) == expected
    assert camera.status(107.1).level == OK


@pytest.mark.parametrize("state", STATES)
def test_only_an_active_node_without_a_problem_is_ok(state: str) -> None:
    status = node_status(state, "", "", {"backend": "one"})
    assert (status.level == OK) == (state == "active")
    assert (status.values["lifecycle_state"], status.values["backend"]) == (state, "one")
    failed = node_status(state, "it failed", "", {})
    assert (failed.level, failed.message, failed.values["lifecycle_state"]) == (ERROR, "it failed", state)
    warned = node_status(state, "", "", {}, "the machine is small")
    assert warned.level == WARN and warned.message == f"{STATES[state][1]}; the machine is small"


def test_bad_frames_are_named_and_counted_by_cause() -> None:
    camera = monitor()
    camera.received(101.0)
    camera.bad("truncated", "the image holds 3 bytes", 101.0)
    assert camera.status(101.0).level == ERROR, "every frame was bad"
    camera.received(101.1)
    camera.finished(101.1, 1.0, 1.0, {})
    camera.bad("wrong_encoding", "the image has the encoding 'x'", 101.2)
    status = camera.status(101.3)
    assert status.level == WARN, "good frames flow beside the bad ones"
    assert status.message == status.values["last_problem"] == "the image has the encoding 'x'"
    assert (status.values["bad_truncated"], status.values["bad_wrong_encoding"]) == ("1", "1")
    assert status.values["bad_frames"] == "2"
    camera.received(103.5)
    camera.bad("wrong_encoding", "the image has the encoding 'x'", 103.5)
    assert camera.status(103.5).level == ERROR, "nothing else came for longer than the camera may be silent"
    camera.finished(103.6, 1.0, 1.0, {})
    assert camera.status(103.6).level == WARN, "a good one did"
    camera.received(110.0)
    status = camera.status(110.0)
    assert status.level == OK, "an old problem no longer counts"
    assert status.values["bad_frames"] == "3"


def test_every_doubt_is_a_warning_for_as_long_as_the_window_and_counted() -> None:
    camera = monitor()
    camera.received(101.0)
    camera.doubted("stamp_old", "it is old", 101.0)
    camera.doubted("stamp_zero", "it is zero", 102.0)
    camera.doubted("stamp_zero", "it is zero", 102.0)
    status = camera.status(102.0, GroundState("stamp_zero", "it is zero"))
    assert (status.level, status.message) == (WARN, "it is old; it is zero"), "the ground need not say it again"
    assert (status.values["stamp_old"], status.values["stamp_zero"]) == ("1", "2")
    camera.received(106.5)
    assert camera.status(106.5).message == "it is zero"
    camera.received(107.5)
    assert camera.status(107.5).level == OK


def test_missing_geometry_is_a_warning_with_its_reason() -> None:
    camera = monitor()
    camera.received(100.5)
    status = camera.status(101.0, GroundState("camera_info", "no camera_info"))
    assert status.level == WARN and status.message == "no ground outputs: no camera_info"
    assert (status.values["ground"], status.values["ground_problem"]) == ("camera_info", "no camera_info")
    status = camera.status(101.0, GroundState("odom_tf_late", "it is late", "drivable_grid"))
    assert status.level == WARN and status.message == "no drivable_grid: it is late"
    status = camera.status(101.0)
    assert (status.level, status.values["ground"], status.values["ground_problem"]) == (OK, "ok", "")
    status = camera.status(101.0, GROUND_UNWATCHED)
    assert (status.level, status.values["ground"]) == (OK, "not watched")


def test_disabled_is_said_without_alarm() -> None:
    camera = monitor()
    camera.received(100.5)
    status = camera.status(101.0, enabled=False)
    assert (status.level, status.message) == (OK, "disabled")


def test_a_camera_is_silent_once_nothing_goes_out_whatever_comes_in() -> None:
    monitor = CameraMonitor("image", timeout_s=2.0, now_s=0.0)
    assert not monitor.is_silent(0.5) and monitor.is_silent(2.1)
    monitor.finished(1.0, 20.0, 20.0, {})
    for now_s in (1.5, 2.0, 2.5, 3.0):
        monitor.received(now_s)
        monitor.bad("encoding", "it is not read", now_s)
        monitor.answered(now_s)
        assert not monitor.is_silent(now_s)
    assert monitor.is_silent(3.1)
