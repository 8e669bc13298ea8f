# SPDX-License-Identifier: Apache-2.0
"""Read an ECP5 bitstream as the device does.

Source: Lattice FPGA-TN-02039 (commands, compression, CRC), and Project Trellis for the order of
frames and bits.
"""

import numpy as np

from .trellis_data import BitstreamError, Memory

__all__ = ["read_bitstream"]

PREAMBLE = b"\xff\xff\xbd\xb3"
EBR_WORDS = 2048  # of nine bits


def _crc_table():
    table = []
    for byte in range(256):
        value = byte << 8
        for _ in range(8):
            value = (value << 1 ^ (0x8005 if value & 0x8000 else 0)) & 0xFFFF
        table.append(value)
    return table


CRC = _crc_table()


class Reader:
    """Bytes of a bitstream, with the running CRC-16."""

    def __init__(self, data):
        self.data, self.at, self.taken = data, 0, bytearray()

    def take(self, count):
        if self.at + count > len(self.data):
            raise BitstreamError("The bitstream ends too early")
        self.at += count
        found = self.data[self.at - count:self.at]
        self.taken += found
        return found

    def check(self):
        """Compare the CRC of what was taken since the last one with the two bytes that follow."""
        crc = 0
        for byte in self.taken:
            crc = crc << 8 & 0xFFFF ^ CRC[crc >> 8 ^ byte]
        if crc != int.from_bytes(self.take(2)):
            raise BitstreamError(f"The bitstream is damaged: wrong CRC before byte {self.at}")
        self.taken.clear()

    def unpack(self, count, dictionary):
        """``count`` bytes of a compressed frame, which ends on a whole byte."""
        bits = buffer = 0
        found = bytearray(count)

        def number(width):
            nonlocal bits, buffer
            while bits < width:
                buffer = (buffer & (1 << bits) - 1) << 8 | self.take(1)[0]
                bits += 8
            bits -= width
            return buffer >> bits & (1 << width) - 1

        for k in range(count):
            if number(1):
                if number(1):
                    found[k] = number(8)
                elif number(1):
                    found[k] = dictionary[number(3)]
                else:
                    found[k] = 1 << number(3)
        return bytes(found)


def read_bitstream(data, chip):
    """Read a bitstream as the device does, every CRC included.

    Parameters
    ----------
    data : bytes
    chip : Device

    Returns
    -------
    Memory

    Raises
    ------
    BitstreamError
        For a wrong device, a wrong CRC, frames that are missing, or an unknown command.
    """
    start = data.find(PREAMBLE)
    if start < 0:
        raise BitstreamError("The bitstream has no preamble: not an ECP5 bitstream")
    reader = Reader(data)
    reader.at = start + len(PREAMBLE)
    cram, brams, dictionary, bram, address = None, {}, None, 0, 0
    while reader.at < len(data):
        command = reader.take(1)[0]
        if command == 0xFF:
            reader.taken.pop()  # a dummy command, no part of the CRC
            continue
        first, *rest = reader.take(3)
        checked = bool(first & 0x80)
        if command == 0x3B:  # reset the CRC
            reader.taken.clear()
        elif command == 0xE2:  # verify the device
            found = int.from_bytes(reader.take(4))
            if found != chip.idcode:
                raise BitstreamError(f"The bitstream is for device {found:#010x}, not for "
                                     f"{chip.name} ({chip.idcode:#010x})")
        elif command in (0x22, 0x46, 0x5E):  # control register, address 0, done
            if command == 0x22:
                reader.take(4)
        elif command == 0xC2:  # user code
            reader.take(4)
            if checked:
                reader.check()
        elif command == 0x02:  # dictionary of the compression
            dictionary = reader.take(8)[::-1]
            if checked:
                reader.check()
        elif command in (0x82, 0xB8):  # frames, plain or compressed
            count = int.from_bytes(bytes(rest))
            if count != chip.frames or not checked or first & 0x40:
                raise BitstreamError(f"{count} frames with settings {first:#04x}; expected "
                                     f"{chip.frames}, each with its CRC")
            size = chip.bits // 8
            cram = np.zeros((chip.frames, chip.bits), bool)
            for frame in reversed(range(chip.frames)):
                if command == 0x82:
                    taken = reader.take(size)
                else:
                    # Padded in front to a multiple of eight bytes.
                    taken = reader.unpack(-(-size // 8) * 8, dictionary)[-size:]
                cram[frame] = np.unpackbits(np.frombuffer(taken, np.uint8))[::-1]
                reader.check()
                reader.take(first & 0xF)
        elif command == 0xF6:  # address in a block RAM
            where = int.from_bytes(reader.take(4))
            bram, address = where >> 11 & 0x3FF, where & 0x7FF
        elif command == 0xB2:  # contents of block RAMs, eight words of nine bits at a time
            for _ in range(int.from_bytes(bytes(rest))):
                if address == EBR_WORDS:
                    bram, address = bram + 1, 0
                words = brams.setdefault(bram, np.zeros(EBR_WORDS, np.uint16))
                bits = np.unpackbits(np.frombuffer(reader.take(9), np.uint8)).reshape(8, 9)
                words[address:address + 8] = bits @ (1 << np.arange(8, -1, -1))
                address += 8
            reader.check()
        else:
            raise BitstreamError(f"The bitstream has an unknown command, {command:#04x}, at byte "
                                 f"{reader.at - 4}")
    if cram is None:
        raise BitstreamError("The bitstream has no frames")
    return Memory(chip, cram, brams)
