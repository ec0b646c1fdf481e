"""Opening an image file: upright, any depth, and an error for each thing that can be wrong."""
import io

import numpy as np
import pytest
from helpers.refusals import refuses
from PIL import Image

from segfast.core.errors import DataError
from segfast.data.filestats import image_facts
from segfast.data.images import inspect_file, open_image, read_image
from segfast.data.masks import decode_mask

RGB = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)


def test_floating_point_is_refused(tmp_path):
    path = tmp_path/"a.tif"
    Image.fromarray(RGB[..., 0].astype(np.float32)).save(path)
    assert image_facts(path)["bad"]["code"] == "image-mode"


def test_only_images_are_opened(tmp_path):
    (tmp_path/"a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n")
    assert image_facts(tmp_path/"a.png")["bad"]["code"] == "not-an-image"


def png_of(pixels):
    f = io.BytesIO()
    Image.fromarray(pixels).save(f, "PNG")
    return bytearray(f.getvalue())


def test_a_file_and_its_open_bytes_are_alike(tmp_path):
    raw = bytes(png_of(RGB))
    (tmp_path/"a.png").write_bytes(raw)
    assert np.array_equal(open_image(tmp_path/"a.png"), RGB) and np.array_equal(open_image(io.BytesIO(raw)), RGB)
    assert np.array_equal(np.asarray(read_image(str(tmp_path/"a.png"))), RGB)
    assert open_image(io.BytesIO(raw), (9, 7)).shape == (9, 7, 3)


@pytest.mark.parametrize("part", [b"IDAT", b"IEND"])
def test_a_wrong_checksum_is_found(tmp_path, part):
    "Pillow decodes pixels whose checksum is wrong without a word."
    raw = png_of(np.zeros((8, 8), np.uint8))
    at = raw.find(part)
    raw[at + 4 + int.from_bytes(raw[at-4:at], "big")] ^= 1
    (tmp_path/"a.png").write_bytes(raw)
    Image.open(io.BytesIO(raw)).load()
    found = inspect_file(tmp_path/"a.png", lambda im: {})
    if part == b"IDAT":
        assert found["bad"]["code"] == "undecodable"
        for read in open_image, decode_mask:
            with refuses(DataError, tmp_path/"a.png", code="undecodable"):
                read(tmp_path/"a.png")


@pytest.mark.parametrize("content, code", [(b"", "empty"), (b"no image at all", "not-an-image"),
                                           (bytes(png_of(RGB))[:900], "undecodable")])
@pytest.mark.parametrize("read", [open_image, decode_mask])
def test_errors_name_the_file_and_what_to_do(tmp_path, read, content, code):
    (tmp_path/"a.png").write_bytes(content)
    with refuses(DataError, tmp_path/"a.png", code=code) as e:
        read(tmp_path/"a.png")
    assert e.value.problems[0].fix
