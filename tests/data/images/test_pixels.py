"""What stands beside the pixels of a picture: depth, transparency, orientation, colours, frames."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageCms

from thresher.data.images.image_examples import read_images
from thresher.data.images.pixels import Undecodable, pixels_of
from thresher.data.sources.source import Source
from thresher.errors import InputError

RAMP = np.arange(0, 256, dtype=np.uint8).reshape(8, 32)


def written(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def grey(values):
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(kind):
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    pixels, notes = pixels_of(written(deep, kind))
    np.testing.assert_array_equal(pixels, grey(RAMP))
    assert "16 bits scaled to 8" in notes
    between, _ = pixels_of(written(Image.fromarray(np.array([[128, 129, 65535]], np.uint16)), kind))
    assert between[0, :, 0].tolist() == [0, 1, 255]  # rounded: half of 257 is 128.5


def test_sixteen_bits_of_which_zero_is_white_are_turned():
    raw = written(Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF", tiffinfo={262: 0})
    np.testing.assert_array_equal(pixels_of(raw)[0], grey(255 - RAMP))


def test_a_deep_value_that_stands_for_nothing_is_white():
    pixels, notes = pixels_of(written(Image.fromarray(RAMP.astype(np.uint16) * 257), transparency=0))
    assert pixels[0, :3, 0].tolist() == [255, 1, 2] and notes[-1] == "composed over white"


def test_sixteen_bit_portable_grey_maps_are_scaled():
    raw = b"P5 32 8 65535\n" + (RAMP.astype(">u2") * 257).astype(">u2").tobytes()
    np.testing.assert_array_equal(pixels_of(raw)[0], grey(RAMP))


def test_floats_are_read_from_zero_to_one_and_others_refused():
    fine = Image.fromarray(RAMP.astype(np.float32) / 255)
    pixels, notes = pixels_of(written(fine, "TIFF"))
    np.testing.assert_array_equal(pixels, grey(RAMP))
    assert "0 to 1 scaled to 8 bits" in notes
    for values in (RAMP.astype(np.float32), RAMP.astype(np.float32) / 255 - 0.5, RAMP * np.float32(np.nan)):
        with pytest.raises(Undecodable, match="only 0 to 1 says what is white"):
            pixels_of(written(Image.fromarray(values), "TIFF"))


def test_32_bit_whole_numbers_are_refused():
    with pytest.raises(Undecodable, match="of 32 bits, do not say what is white"):
        pixels_of(written(Image.fromarray(RAMP.astype(np.int32) * 1000), "TIFF"))


def transparent_modes():
    rgba = np.zeros((8, 32, 4), np.uint8)
    rgba[..., 3] = RAMP
    layered = Image.fromarray(rgba, "RGBA")
    la = Image.merge("LA", [Image.new("L", (32, 8)), Image.fromarray(RAMP)])
    return {"RGBA": layered, "LA": la}


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_ink_is_composed_over_white(mode):
    pixels, notes = pixels_of(written(transparent_modes()[mode]))
    np.testing.assert_array_equal(pixels, grey(255 - RAMP))  # black ink; alpha says how much
    assert notes == (f"read as {mode}", "composed over white")


def test_a_transparent_colour_is_composed_too_in_palettes_grey_and_colour():
    for mode in ("P", "L", "RGB"):
        picture = Image.new(mode, (4, 2), 0)
        if mode == "P":
            picture.putpalette([0, 0, 0, 200, 100, 50])
            picture.putpixel((1, 0), 1)
        else:
            picture.putpixel((1, 0), 90 if mode == "L" else (200, 100, 50))
        pixels, notes = pixels_of(written(picture, transparency=0 if mode != "RGB" else (0, 0, 0)))
        assert "composed over white" in notes
        assert pixels[1, 1].tolist() == [255, 255, 255]
        assert pixels[0, 1].tolist() == ([90] * 3 if mode == "L" else [200, 100, 50])


def test_a_palette_with_an_alpha_for_each_colour():
    picture = Image.new("P", (2, 1), 0)
    picture.putpalette([0, 0, 0, 100, 100, 100])
    picture.putpixel((1, 0), 1)
    pixels, _ = pixels_of(written(picture, transparency=bytes([255, 0])))
    assert pixels[0].tolist() == [[0, 0, 0], [255, 255, 255]]


def test_an_opaque_alpha_changes_nothing_and_white_on_nothing_is_refused():
    opaque = Image.new("RGBA", (2, 2), (10, 20, 30, 255))
    pixels, notes = pixels_of(written(opaque))
    assert pixels[0, 0].tolist() == [10, 20, 30] and notes == ("read as RGBA",)
    white = Image.new("RGBA", (2, 2), (255, 255, 255, 0))
    white.putpixel((0, 0), (255, 255, 255, 255))
    with pytest.raises(Undecodable, match="white on a transparent ground"):
        pixels_of(written(white))


def test_a_picture_is_turned_as_its_camera_noted():
    picture = Image.new("RGB", (3, 2))
    picture.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    pixels, notes = pixels_of(written(picture, exif=exif))
    assert pixels.shape == (3, 2, 3) and pixels[0, 1].tolist() == [255, 0, 0]
    assert "turned as its orientation says" in notes
    pixels, notes = pixels_of(written(picture, "TIFF", tiffinfo={274: 6}))
    assert pixels[0, 1].tolist() == [255, 0, 0] and "turned as its orientation says" in notes
    exif[0x0112] = 1
    assert pixels_of(written(picture, exif=exif))[1] == ("read as RGB",)


def test_a_colour_profile_is_applied_unless_it_is_the_usual_one(monkeypatch):
    picture = Image.new("RGB", (2, 2), (200, 30, 40))
    usual = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert pixels_of(written(picture, icc_profile=usual))[0][0, 0].tolist() == [200, 30, 40]
    pixels, notes = pixels_of(written(picture, icc_profile=b"nonsense"))
    assert pixels[0, 0].tolist() == [200, 30, 40] and notes[-1] == "colour profile not understood, left aside"
    monkeypatch.setattr(ImageCms, "getProfileDescription", lambda profile: "of a camera")  # the same, by another name
    pixels, notes = pixels_of(written(picture, icc_profile=usual))
    assert np.abs(pixels[0, 0].astype(int) - [200, 30, 40]).max() <= 1 and notes[-1] == "colour profile applied"


def test_other_colours_become_red_green_and_blue():
    one_bit = Image.fromarray(np.array([[True, False]]))
    assert pixels_of(written(one_bit))[0][0, :, 0].tolist() == [255, 0]
    ink = Image.new("CMYK", (8, 8), (0, 0, 0, 0))  # no ink
    for kind in ("JPEG", "TIFF"):
        pixels, notes = pixels_of(written(ink, kind))
        assert pixels.min() > 250 and notes == ("read as CMYK",)
    palette = Image.new("P", (2, 1), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    assert pixels_of(written(palette))[0][0, 0].tolist() == [9, 8, 7]
    assert pixels_of(written(Image.fromarray(RAMP)))[1] == ("read as L",)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_of_several_frames_the_first_is_taken_and_noted(kind):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    options = {"lossless": True} if kind == "WEBP" else {}
    raw = written(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    pixels, notes = pixels_of(raw)
    assert pixels[0, 0].tolist() == [255, 0, 0] and "first of several frames" in notes


def test_resizing_comes_after_depth_and_ground():
    pixels, _ = pixels_of(written(transparent_modes()["RGBA"]), size=4)
    assert pixels.shape == (4, 4, 3) and len(np.unique(pixels)) > 8
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert len(np.unique(pixels_of(written(deep), size=4)[0])) > 8


def test_what_is_no_picture_is_said(tmp_path, monkeypatch):
    whole = written(Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)))
    for value, said in (
        (b"", "it is empty"),
        ({"bytes": b"", "path": "a"}, "it is empty"),
        (b"nonsense", "no image of a known format"),
        (whole[:-300], "truncated|broken"),
        (None, "holds nothing"),
        ([1, 2], "holds list"),
        ("a.png", "holds str"),
        ({"bytes": None, "path": None}, "holds dict"),
        ({"bytes": None, "path": "gone.png"}, "gone.png does not exist"),
    ):
        with pytest.raises(Undecodable, match=said):
            pixels_of(value, folder=tmp_path)
    (tmp_path / "x.jpg").write_bytes(whole)  # a wrong ending is no matter
    assert pixels_of({"bytes": None, "path": "x.jpg"}, folder=tmp_path)[0].shape == (40, 40, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for size in (40, 60):  # a warning of Pillow's, and an error
        with pytest.raises(Undecodable, match="more than 1000 pixels"):
            pixels_of(written(Image.new("L", (size, size))))


def test_images_are_read_from_columns_of_bytes_and_faults_name_the_row(tmp_path):
    rows = [{"image": written(Image.new("RGB", (2, 2), (5, 6, 7))), "label": "cat"}, {"image": b"", "label": "dog"}]
    pq.write_table(pa.Table.from_pylist(rows[:1]), tmp_path / "x.parquet")
    (image,) = read_images(Source((str(tmp_path / "x.parquet"),)))
    assert image.pixels[0, 0].tolist() == [5, 6, 7] and image.label == "cat"
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"x.parquet row 2 \(1\): the image cannot be decoded \(it is empty\)"):
        list(read_images(Source((str(tmp_path / "x.parquet"),))))
