"""Make the pictures in notebooks small: JPEG at one quality, and photographs that are PNG as JPEG where that is
smaller. A second run changes nothing."""
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


def shrunk(data):
    "The pictures of one output, in place of those that are larger than need be."
    kind = next((path for path in ("image/jpeg", "image/png") if path in data), None)
    if kind is None:
        return data
    text = data[kind] if isinstance(data[kind], str) else "".join(data[kind])
    raw = base64.b64decode(text)
    im = Image.open(io.BytesIO(raw))
    if (kind == "image/jpeg" and im.quantization == OURS) or not opaque(im):
        return data
    small = jpeg(im)
    if len(small) >= len(raw):
        return data
    return {**{k: v for k, v in data.items() if k != kind}, "image/jpeg": base64.b64encode(small).decode()}


for path in map(Path, sys.argv[1:]):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    before = json.dumps(notebook)
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            if "data" in output:
                output["data"] = shrunk(output["data"])
    if json.dumps(notebook) != before:
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
