"""Whether an H.264 stream is whole: its decoder paints over what is lost and says nothing, but frames are numbered.

Numbers of sections and names of fields are those of ITU-T H.264.
"""

from __future__ import annotations

from collections.abc import Iterator

SLICE, KEY_SLICE, SEQUENCE = 1, 5, 7
"""Types of the units that are looked at."""
_HIGH_PROFILES = (44, 83, 86, 100, 110, 118, 122, 128, 244)
_MOST_BITS = 16
"""Of a frame's number (7.4.2.1.1)."""
_HEAD_BYTES = 64
"""Of a unit: more than the fields that are read here take."""


def units(data: bytes, zero_bytes: bytes = b"\0\0\1") -> Iterator[memoryview]:
    """The units of a packet in Annex B, each from the byte behind its start code; the last ones may run on."""
    view, at = memoryview(data), data.find(zero_bytes)
    while at >= 0:
        yield view[at + 3 :]
        at = data.find(zero_bytes, at + 3)


class FrameNumbers:
    """Follows the numbers of a stream's frames (frame_num, 7.4.3)."""

    def __init__(self) -> None:
        self._bits, self._is_split, self._may_gap = 0, False, True
        self._last = 0

    def is_gap(self, data: bytes) -> bool:
        """Whether a frame that others are made of went missing before this packet of one frame."""
        for unit in units(data):
            kind = unit[0] & 31 if unit else 0
            if kind == SEQUENCE:
                self._take_sequence(_Bits(unit[1:_HEAD_BYTES]))
            if kind in (SLICE, KEY_SLICE):
                return self._take_slice(unit, kind == KEY_SLICE)
        return False

    def _take_sequence(self, bits: _Bits) -> None:
        """As far as log2_max_frame_num and gaps_in_frame_num_value_allowed_flag (7.3.2.1.1)."""
        self._bits, self._is_split, self._may_gap = 0, False, True
        profile = bits.take(8)
        bits.take(16)
        bits.exp_golomb()
        if profile in _HIGH_PROFILES:
            self._is_split = bits.exp_golomb() == 3 and bool(bits.take(1))
            bits.exp_golomb()
            bits.exp_golomb()
            bits.take(1)
            if bits.take(1):
                return  # scaling lists, which nobody sends: numbers stay unknown
        number_bits = bits.exp_golomb() + 4
        if number_bits > _MOST_BITS:
            return  # damaged: numbers stay unknown
        self._bits = number_bits
        order = bits.exp_golomb()
        if order == 0:
            bits.exp_golomb()
        elif order == 1:
            return
        bits.exp_golomb()
        self._may_gap = bool(bits.take(1))

    def _take_slice(self, unit: memoryview, is_key: bool) -> bool:
        """By the start of the slice's header (7.3.3)."""
        if self._may_gap or not self._bits:
            return False
        bits = _Bits(unit[1:_HEAD_BYTES])
        for _ in range(3):
            bits.exp_golomb()
        bits.take(2 * self._is_split)
        number, last, is_reference = bits.take(self._bits), self._last, bool(unit[0] & 96)
        if is_reference:
            self._last = number
        return not is_key and number not in (last, (last + 1) % (1 << self._bits))


class _Bits:
    """Reads bits, the highest first; beyond the end come zeros."""

    def __init__(self, data: memoryview) -> None:
        # Behind two zero bytes a 3 is put in, so that no start code comes about (7.4.1).
        plain = bytes(data).replace(b"\0\0\3", b"\0\0")
        self._value, self._left = int.from_bytes(plain, "big"), 8 * len(plain)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            return 0
        return (self._value >> self._left) & ((1 << count) - 1)

    def exp_golomb(self) -> int:
        """ue(v), 9.1."""
        zeros = 0
        while self._left > 0 and not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)
