"TIFF files written by hand: any number of bands, bits, byte order, layout and compression."
import struct
import zlib
from pathlib import Path

import numpy as np

TYPES = {"B": 1, "H": 3, "I": 4, "Q": 16}  # the TIFF number of a `struct` format
KINDS = {"u": 1, "b": 1, "i": 2, "f": 3, "c": 6}  # SampleFormat by the kind of a NumPy type


def pieces(a, tile, separate):
    "The strips or tiles of an array, plane by plane if they are separate."
    h, w = a.shape[:2]
    planes = [a[..., i:i+1] for i in range(a.shape[2])] if separate else [a]
    if not tile: return planes
    padded = [np.pad(plane, ((0, -h % tile), (0, -w % tile), (0, 0))) for plane in planes]
    return [plane[y:y+tile, x:x+tile] for plane in padded for y in range(0, h, tile) for x in range(0, w, tile)]


def raw_bytes(piece, bits, order):
    "Pixels as they lie in a file; fewer than 8 bits are packed."
    if bits >= 8 and bits % 8 == 0: return piece.astype(piece.dtype.newbyteorder(order)).tobytes()
    rows = piece.reshape(len(piece), -1)
    one = (rows[..., None].astype(np.int64) >> np.arange(bits - 1, -1, -1) & 1).astype(np.uint8)
    return np.packbits(one.reshape(len(rows), -1), axis=1).tobytes()


def packed(values, kind, order): return struct.pack(f"{order}{len(values)}{kind}", *values)


def tags_of(a, bits, photometric, extra, tile, separate, compression, kind):
    "The tags that every TIFF needs, as {number: (kind, values)}."
    h, w, n = a.shape
    colors = {2: 3, 5: 4, 6: 3, 8: 3}.get(photometric, 1)
    tags = {256: ("I", [w]), 257: ("I", [h]), 258: ("H", [bits]*n), 259: ("H", [compression]),
            262: ("H", [photometric]), 277: ("H", [n]), 284: ("H", [1 + separate]), 339: ("H", [kind]*n)}
    if n > colors: tags[338] = ("H", extra if isinstance(extra, list) else [extra]*(n - colors))
    return tags | ({322: ("I", [tile]), 323: ("I", [tile])} if tile else {278: ("I", [h])})


def directory(tags, at, order, big, following=0):
    "A directory at a place in the file, and the values that do not fit into it."
    head, entry, room, place = ("Q", "HHQ", 8, "Q") if big else ("H", "HHI", 4, "I")
    size = struct.calcsize(f"{order}{head}") + len(tags)*struct.calcsize(f"{order}{entry}{place}") + room
    out, rest = packed([len(tags)], head, order), b""
    for number, (kind, values) in sorted(tags.items()):
        value = packed(values, kind, order)
        if len(value) > room:
            rest += value
            value = packed([at + size + len(rest) - len(value)], place, order)
        out += struct.pack(f"{order}{entry}", number, TYPES[kind], len(values)) + value.ljust(room, b"\0")
    return out + packed([following], place, order) + rest


def tiff_bytes(pages, bits=None, photometric=None, extra=0, order="<", tile=0, separate=False, deflate=False,
               big=False, kind=None, tags=None):
    "A TIFF of one array, or of a list of arrays, one per page."
    head = (b"II" if order == "<" else b"MM") + packed([43, 8, 0] if big else [42], "H", order)
    out, links = bytearray(head + bytes(8 if big else 4)), [8 if big else 4]
    for a in pages if isinstance(pages, list) else [pages]:
        a = np.atleast_3d(np.asarray(a))
        each = bits or (1 if a.dtype == bool else a.dtype.itemsize*8)
        shown = photometric if photometric is not None else 2 if a.shape[2] == 3 else 1
        parts = [raw_bytes(piece, each, order) for piece in pieces(a, tile, separate)]
        if deflate: parts = [zlib.compress(part) for part in parts]
        starts = [len(out) + sum(map(len, parts[:i])) for i in range(len(parts))]
        out += b"".join(parts)
        mine = tags_of(a, each, shown, extra, tile, separate, 8 if deflate else 1, kind or KINDS[a.dtype.kind])
        mine |= {324 if tile else 273: ("I", starts), 325 if tile else 279: ("I", list(map(len, parts)))} | (tags or {})
        out += bytes(len(out) % 2)
        out[links[-1]:links[-1] + (8 if big else 4)] = packed([len(out)], "Q" if big else "I", order)
        links.append(len(out) + (8 if big else 2) + len(mine)*(20 if big else 12))
        out += directory(mine, len(out), order, big)
    return bytes(out)


def write_tiff(path, pages, **kwargs):
    "Write a TIFF; gives its path."
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(tiff_bytes(pages, **kwargs))
    return path
