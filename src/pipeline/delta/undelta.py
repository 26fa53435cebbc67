#!/usr/bin/env python3
"""Makes the content of a backup from a delta and its base.

    undelta.py BASE DELTA > CONTENT

Both are read once, from beginning to end, and must be unpacked. In bash:

    undelta.py <(zstd -dc FULL.sqlite3.zst) <(zstd -dc DELTA.sqlite3.vcdiff.zst) > FILE

A delta is VCDIFF (RFC 3284) with Adler-32 checksums; `xdelta3 -d -c -s BASE DELTA` does the same.
Edition 1.
"""
import io
import sys
import zlib


def take(stream, count):
    """Returns the next `count` bytes."""
    data = stream.read(count)
    if len(data) < count:
        sys.exit("undelta: the base or the delta ends too early: do they belong together?")
    return data


def integer(stream):
    """Returns the next integer: seven bits a byte, the most significant first."""
    value = 0
    while True:
        byte = take(stream, 1)[0]
        value = value << 7 | byte & 127
        if byte < 128:
            return value


def decode_window(base, position, delta, out):
    """Writes the content of one window; returns the new position in the base, None at the end."""
    kind = take(delta, 1)[0]
    segment = b""
    if kind & 1:  # The window copies from this stretch of the base.
        length, offset = integer(delta), integer(delta)
        if offset < position:
            sys.exit("undelta: the delta is damaged")
        while position < offset:
            position += len(take(base, min(offset - position, 1 << 20)))
        segment = take(base, length)
        position += length
    integer(delta)  # The size of what follows.
    size = integer(delta)
    take(delta, 1)  # No part is compressed.
    lengths = [integer(delta), integer(delta), integer(delta)]
    checksum = int.from_bytes(take(delta, 4), "big") if kind & 4 else None
    data, codes, addresses = [io.BytesIO(take(delta, length)) for length in lengths]
    content, near, copies = bytearray(), [0, 0, 0, 0], 0
    while code := codes.read(1):
        code = code[0]
        if code < 19:  # ADD: new bytes; 1 says that their number follows.
            content += take(data, code - 1 or integer(codes))
        else:  # COPY: bytes of the segment, addressed plainly or from one of the last four copies.
            mode, count = divmod(code - 19, 16)
            count = count + 3 if count else integer(codes)
            address = integer(addresses) + (near[mode - 2] if mode else 0)
            near[copies % 4] = address
            copies += 1
            content += segment[address : address + count]
    if len(content) != size or checksum not in (None, zlib.adler32(content)):
        sys.exit("undelta: the checksum differs: delta or base is damaged, or is another one")
    out.write(content)
    return position if size else None


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as base, open(sys.argv[2], "rb") as delta:
        if take(delta, 5) != bytes.fromhex("d6c3c40000"):
            sys.exit("undelta: this is no delta; is it unpacked?")
        position = 0
        while position is not None:
            position = decode_window(base, position, delta, sys.stdout.buffer)
    sys.stdout.buffer.flush()


main()
