"""Make the images in notebooks small: one form per image, an exact PNG or a JPEG of one quality, whichever is smaller.
A second run changes nothing."""
import base64
import io
import json
import sys
from pathlib import Path

from PIL import Image

QUALITY = 60


def jpeg(im):
    out = io.BytesIO()
    im.convert("RGB").save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()


OURS = Image.open(io.BytesIO(jpeg(Image.new("RGB", (8, 8))))).quantization


def opaque(im):
    return im.mode in ("RGB", "L", "P") or (im.mode == "RGBA" and im.getextrema()[3][0] == 255)


def png(im):
    "With a palette, if an opaque image has at most 256 colors: nothing is lost"
    if im.mode == "RGB" and im.getcolors(256):
        im = im.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    out = io.BytesIO()
    im.save(out, "PNG", optimize=True)
    return out.getvalue()


def exact(raw):
    "A PNG that is smaller and has the same pixels, or the one given"
    im = Image.open(io.BytesIO(raw))
    if im.mode == "RGBA" and opaque(im):
        im = im.convert("RGB")
    small = png(im)
    same = Image.open(io.BytesIO(small)).convert("RGBA").tobytes() == im.convert("RGBA").tobytes()
    return small if same and len(small) < len(raw) else raw


def shrunk(data):
    "One image per output, in the smaller of its forms: an exact PNG, or a JPEG"
    kinds = [kind for kind in ("image/png", "image/jpeg") if kind in data]
    if not kinds:
        return data
    raw = {kind: base64.b64decode("".join(data[kind])) for kind in kinds}
    im = Image.open(io.BytesIO(raw[kinds[0]]))
    if kinds == ["image/jpeg"] and im.quantization == OURS:
        return data
    if "image/png" in raw:
        raw["image/png"] = exact(raw["image/png"])
    if opaque(im):
        raw["image/jpeg"] = jpeg(im)
    kind = min(raw, key=lambda kind: len(raw[kind]))
    return {k: v for k, v in data.items() if k not in kinds} | {kind: base64.b64encode(raw[kind]).decode()}


for path in map(Path, sys.argv[1:]):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    before = json.dumps(notebook)
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            if "data" in output:
                output["data"] = shrunk(output["data"])
    if json.dumps(notebook) != before:
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
