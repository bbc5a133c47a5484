"""Numbers of frames in H.264, by headers that are written bit by bit here, after ITU-T H.264's 7.3.2.1.1 and 7.3.3."""

from __future__ import annotations

import pytest

from seg_perception.camera.h264 import FrameNumbers

BASELINE, HIGH_444 = 66, 244
START = b"\0\0\1"


def ue(value: int) -> str:
    """9.1: as many zeros as the number has bits behind its first, then the number."""
    return f"{value + 1:b}".zfill(2 * (value + 1).bit_length() - 1)


SCALED = ue(3) + "0" + ue(0) + ue(0) + "0" + "1"
"""What profiles with more colours say, with lists for scaling."""


def unit(head: int, bits: str) -> bytes:
    """A unit of Annex B; behind two zero bytes a 3 keeps start codes out (7.4.1)."""
    bits += "1"
    plain = int(bits.ljust(-len(bits) % 8 + len(bits), "0"), 2).to_bytes((len(bits) + 7) // 8, "big")
    escaped, zeros = bytearray(), 0
    for byte in plain:
        if zeros >= 2 and byte <= 3:
            escaped.append(3)
            zeros = 0
        escaped.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return START + bytes([head]) + bytes(escaped)


def sequence(
    profile: int = BASELINE, chroma: str = "", bits: int = 4, order: str = ue(0) + ue(0), gaps: int = 0
) -> bytes:
    return unit(0x67, f"{profile:08b}{0:016b}" + ue(0) + chroma + ue(bits - 4) + order + ue(1) + str(gaps))


def picture(number: int, head: int = 0x61, bits: int = 4, plane: str = "", first: int = 0) -> bytes:
    return unit(head, ue(first) + ue(5) + ue(0) + plane + f"{number:0{bits}b}" + "0" * 16)


def gaps(begin: bytes, *pictures: bytes) -> list[bool]:
    numbers = FrameNumbers()
    return [numbers.is_gap(data) for data in (begin + pictures[0], *pictures[1:])]


def test_a_number_that_is_left_out_is_a_gap_and_what_follows_it_is_none():
    key, others = picture(0, 0x65), [picture(number) for number in (1, 2, 4, 5)]
    assert gaps(sequence(), key, *others) == [False, False, False, True, False]


def test_numbers_begin_anew_behind_the_last_and_with_a_key_frame():
    assert gaps(sequence(), picture(14, 0x65), picture(15), picture(0), picture(2)) == [False, False, False, True]
    assert gaps(sequence(), picture(7, 0x65), picture(0, 0x65), picture(1)) == [False, False, False]


def test_a_picture_that_no_other_needs_does_not_count():
    assert gaps(sequence(), picture(3, 0x65), picture(4, 0x01), picture(4)) == [False, False, False]
    assert gaps(sequence(), picture(3, 0x65), picture(4, 0x01), picture(5)) == [False, False, True]


@pytest.mark.parametrize("bits", [4, 9, 16])
def test_numbers_have_as_many_bits_as_the_sequence_says(bits: int):
    last = (1 << bits) - 1
    begin, key = sequence(bits=bits), picture(last, 0x65, bits)
    assert gaps(begin, key, picture(0, bits=bits)) == [False, False]
    assert gaps(begin, key, picture(1, bits=bits)) == [False, True]


def test_zeros_that_are_escaped_are_read_as_they_were():
    begin = sequence(bits=16)
    assert gaps(begin, picture(0, 0x65, 16, first=2**16), picture(1, bits=16, first=2**16)) == [False, False]
    assert b"\0\0\3" in picture(0, 0x65, 16, first=2**16)


@pytest.mark.parametrize(("split", "plane"), [("0", ""), ("1", "10")])
def test_profiles_with_more_colours_say_more_before(split: str, plane: str):
    begin = sequence(HIGH_444, ue(3) + split + ue(0) + ue(0) + "0" + "0")
    key, next_one, far = picture(0, 0x65, plane=plane), picture(1, plane=plane), picture(3, plane=plane)
    assert gaps(begin, key, next_one, far) == [False, False, True]


def test_the_order_of_output_may_be_that_of_the_numbers():
    assert gaps(sequence(order=ue(2)), picture(0, 0x65), picture(2)) == [False, True]


@pytest.mark.parametrize(
    "begin",
    [
        sequence(gaps=1),
        sequence(HIGH_444, SCALED),
        sequence(order=ue(1) + "1" + ue(1) + ue(0) + ue(0)),
        b"",
    ],
    ids=["gaps are allowed", "scaling lists", "another order", "no sequence"],
)
def test_where_numbers_say_nothing_nothing_is_a_gap(begin: bytes):
    assert gaps(begin, picture(0, 0x65), picture(1), picture(9)) == [False, False, False]


@pytest.mark.parametrize("bits", [17, 1 << 40, 1 << 70])
def test_numbers_of_more_bits_than_there_can_be_say_nothing(bits: int):
    """A damaged sequence may say that they have so many that no machine holds the largest."""
    assert gaps(sequence(bits=bits), picture(0, 0x65, 17), picture(1, bits=17), picture(9, bits=17)) == [False] * 3


def test_units_that_say_nothing_are_passed_over():
    numbers = FrameNumbers()
    assert not numbers.is_gap(sequence() + START)
    assert not numbers.is_gap(START + b"\x09\xf0" + picture(0, 0x65))
    assert numbers.is_gap(START + b"\x06\x01" + picture(2))


def test_a_sequence_that_says_less_takes_back_what_the_last_one_said():
    assert gaps(sequence(), picture(0, 0x65), sequence(HIGH_444, SCALED) + picture(9), picture(2)) == [
        False,
        False,
        False,
    ]


def test_a_unit_that_is_cut_off_goes_on_with_zeros():
    assert gaps(sequence(), picture(15, 0x65), START + b"\x61") == [False, False]


def test_pictures_name_their_colour_plane_only_while_the_sequence_keeps_the_planes_apart():
    split = sequence(HIGH_444, ue(3) + "1" + ue(0) + ue(0) + "0" + "0")
    after = sequence() + picture(1, 0x65)
    assert gaps(split, picture(0, 0x65, plane="10"), after, picture(2), picture(4)) == [False, False, False, True]
