"""Which recordings validate."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from seg_perception.labelling.split import Row, validation_stems


def rows(**recordings: tuple[int, str]) -> list[Row]:
    """Of each recording a number of images, all of which show the classes that the letters stand for."""
    return [
        Row(f"{name}{number}", name, number, frozenset(map(ord, classes)))
        for name, (count, classes) in recordings.items()
        for number in range(count)
    ]


def held(found: list[Row], share: float = 0.2) -> set[str]:
    return {stem.rstrip("0123456789") for stem in validation_stems(found, share)[0]}


def test_whole_recordings_of_about_the_share_validate() -> None:
    """A fifth of 15 is 3: two are nearer to it than five."""
    assert held(rows(a=(8, "r"), b=(2, "r"), c=(5, "r"))) == {"b"}
    assert held(rows(a=(5, "r"), b=(5, "r"), c=(5, "r"), d=(5, "r")), 0.5) == {"a", "b"}


def test_training_keeps_every_class() -> None:
    assert held(rows(a=(7, "r"), b=(2, "rx"), c=(3, "r"))) == {"c"}
    stems, told = validation_stems(rows(a=(3, "a"), b=(3, "b")), 0.5)
    assert len(stems) == 3 and "1 classes are in the recordings of validation alone" in told


def test_of_one_recording_the_end_validates_which_is_told() -> None:
    stems, told = validation_stems(rows(a=(10, "r")), 0.2)
    assert stems == {"a8", "a9"} and "one recording" in told
    assert validation_stems(rows(a=(1, "r")), 0.2)[0] == set()


def test_thousands_of_lone_photos_are_dealt_out_at_once_and_no_class_is_lost() -> None:
    every = [Row(f"photo{i}", f"photo{i}", 0, frozenset({0, 1000 + i} if i % 10 else {0})) for i in range(3000)]
    stems, told = validation_stems(every, 0.05)
    assert len(stems) == 150 and not told
    assert all(int(stem[5:]) % 10 == 0 for stem in stems)


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abcdefgh") | st.text("xyz", min_size=3, max_size=3),
        st.tuples(st.integers(1, 6), st.text("rst", max_size=3)),
        min_size=2,
        max_size=40,
    ),
    st.sampled_from([0.1, 0.2, 0.5]),
)
def test_no_recording_is_cut_and_both_sides_have_some(recordings: dict[str, tuple[int, str]], share: float) -> None:
    every = rows(**recordings)
    stems, _ = validation_stems(every, share)
    names = {row.recording for row in every if row.stem in stems}
    assert stems == {row.stem for row in every if row.recording in names}
    assert 0 < len(names) < len(recordings)
    assert stems == validation_stems(every[::-1], share)[0]
