"""A release is one commit that leaves every place with one version, or is refused and leaves all as it was."""

import shutil
import subprocess
from pathlib import Path

import check_messages
import prepare_release
import pytest
from places import CHECKOUT

LOG = "^^^\nLog\n^^^\n\nForthcoming\n-----------\n* New.\n\n0.1.0 (2026-01-01)\n------------------\n* Old.\n"


def git(place: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=place, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with every file that a release changes, and the messages, at 0.1.0."""
    for name in (*prepare_release.PLACES, *prepare_release.CHANGE_LOGS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, tmp_path / name)
    shutil.copytree(CHECKOUT / check_messages.FOLDER, tmp_path / check_messages.FOLDER)
    for name, version in prepare_release.versions().items():
        path = tmp_path / name
        path.write_text(path.read_text().replace(version, "0.1.0"))
    for name in prepare_release.CHANGE_LOGS:
        (tmp_path / name).write_text(LOG)
    git(tmp_path, "init", "-q")
    for name, value in (("user.name", "me"), ("user.email", "me@example.com")):
        git(tmp_path, "config", name, value)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "work")
    monkeypatch.setattr(prepare_release, "CHECKOUT", tmp_path)
    monkeypatch.setattr(check_messages, "CHECKOUT", tmp_path)
    return tmp_path


def test_one_version_everywhere() -> None:
    assert len(set(prepare_release.versions().values())) == 1


def test_a_release_is_one_commit_with_its_tag(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare_release.main(["1.0.0"]) == 0
    assert "git push origin HEAD 1.0.0" in capsys.readouterr().out
    assert set(prepare_release.versions().values()) == {"1.0.0"}
    assert git(checkout, "log", "--format=%s") == "1.0.0\nwork" and git(checkout, "tag") == "1.0.0"
    assert git(checkout, "status", "--porcelain") == ""
    date = git(checkout, "log", "-1", "--format=%cd", "--date=format-local:%Y-%m-%d")
    assert f"version: 1.0.0\ndate-released: {date}\n" in (checkout / "CITATION.cff").read_text()
    for name in prepare_release.CHANGE_LOGS:
        head = f"1.0.0 ({date})\n------------------\n* New.\n\n0.1.0"
        assert head in (checkout / name).read_text()
        assert "Forthcoming" not in (checkout / name).read_text()


def test_a_log_may_begin_with_a_sentence(checkout: Path) -> None:
    text = LOG.replace("* New.", "What it is.\n\n**Parts**\n\n* New.")
    (checkout / prepare_release.CHANGE_LOGS[0]).write_text(text)
    git(checkout, "commit", "-qam", "log")
    assert prepare_release.main(["1.0.0"]) == 0
    assert "------------------\nWhat it is." in (checkout / prepare_release.CHANGE_LOGS[0]).read_text()


def test_the_next_one_needs_changes_of_its_own_and_keeps_messages(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare_release.main(["1.0.0"]) == 0
    assert prepare_release.main(["1.1.0"]) == 2
    assert "no changes under 'Forthcoming'" in capsys.readouterr().err
    log = checkout / "CHANGELOG.rst"
    log.write_text(
        log.read_text().replace("\n\n1.0.0", "\n\nForthcoming\n-----------\nAdded\n~~~~~\n* More.\n\n1.0.0", 1)
    )
    segment = checkout / check_messages.FOLDER / "Segment.msg"
    segment.write_text(segment.read_text() + "float32 weight_kg\n")
    git(checkout, "commit", "-qam", "more")
    assert prepare_release.main(["1.1.0"]) == 2
    assert "Segment got 'float32 weight_kg'" in capsys.readouterr().err
    assert prepare_release.main(["2.0.0"]) == 0
    assert (checkout / "CITATION.cff").read_text().count("date-released") == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["1.0"], "'1.0' is no version"),
        (["1.02.0"], "'1.02.0' is no version"),
        (["١.0.0"], "is no version"),
        (["0.1.0"], "0.1.0 is not above 0.1.0"),
        (["0.0.9"], "is not above"),
    ],
)
def test_what_is_refused(checkout: Path, words: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare_release.main(words) == 2
    assert reason in capsys.readouterr().err
    assert git(checkout, "status", "--porcelain") == "" and git(checkout, "log", "--format=%s") == "work"


def test_without_a_name_for_the_commit_nothing_is_written(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GIT_COMMITTER_NAME", "")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "")
    assert prepare_release.main(["1.0.0"]) == 2 and "git var failed" in capsys.readouterr().err
    assert set(prepare_release.versions().values()) == {"0.1.0"}


def test_what_is_not_committed_is_in_no_release(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "new.txt").touch()
    assert prepare_release.main(["1.0.0"]) == 2 and "commit them first" in capsys.readouterr().err
    (checkout / "new.txt").unlink()
    git(checkout, "tag", "1.0.0")
    assert prepare_release.main(["1.0.0"]) == 2 and "a tag 1.0.0" in capsys.readouterr().err
    assert set(prepare_release.versions().values()) == {"0.1.0"}


def test_an_empty_line_under_forthcoming_is_none_of_its_changes(checkout: Path) -> None:
    for name in prepare_release.CHANGE_LOGS:
        (checkout / name).write_text(LOG.replace("\n* New", "\n\n* New"))
    git(checkout, "commit", "-qam", "log")
    assert prepare_release.main(["1.0.0"]) == 0
    assert "Forthcoming" not in (checkout / prepare_release.CHANGE_LOGS[1]).read_text()


def test_a_commit_that_fails_leaves_all_as_it_was(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hook = checkout / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
    hook.chmod(0o755)
    assert prepare_release.main(["1.0.0"]) == 2 and "not today" in capsys.readouterr().err
    assert git(checkout, "status", "--porcelain") == "" and git(checkout, "log", "--format=%s") == "work"
    assert set(prepare_release.versions().values()) == {"0.1.0"}


def test_a_tag_that_is_no_version_hides_no_release(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(checkout, "tag", "0.1.0")
    segment = checkout / check_messages.FOLDER / "Segment.msg"
    segment.write_text(segment.read_text() + "float32 weight_kg\n")
    git(checkout, "commit", "-qam", "more")
    git(checkout, "tag", "before-the-move")
    assert prepare_release.main(["0.2.0"]) == 2 and "messages are not what 0.1.0 has" in capsys.readouterr().err
