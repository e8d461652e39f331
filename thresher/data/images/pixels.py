"""A picture into pixels: uint8 [h, w, 3], and a note of everything that was done on the way.

What stands beside the pixels is honoured: their depth (16 bits are scaled, never cut off), transparency (composed over
white), the orientation that a camera noted, a colour profile. What has no stated meaning is refused by name.
"""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from thresher.data.sources.values import file_named

BACKGROUND = (255, 255, 255)
"""Transparent pictures are composed over this (white)."""
COMPOSED = "composed over white"
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
"""The tag of a TIFF file, and the value of it, by which 0 is white."""
SIXTEEN = ("I;16", "I;16L", "I;16B", "I;16N")
# Formats whose pictures of whole numbers ("I") are 16 bits deep, as older versions of Pillow open them.
SIXTEEN_BIT_FORMATS = ("PNG", "PPM")


class Undecodable(Exception):
    """Why a picture gives no pixels."""


def pixels_of(
    value: Any, size: int | None = None, folder: Path | None = None
) -> tuple[UInt8[np.ndarray, "h w 3"], tuple[str, ...]]:
    """The pixels of an undecoded image ({"bytes", "path"} or bytes), resized to `size` x `size` if given, and notes.

    A path that is not absolute starts at `folder`. Raises Undecodable.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning)  # of tags that do not concern the pixels
        try:
            with Image.open(_opened(value, folder)) as picture:
                shown, notes = _in_colour(picture)
        except Undecodable:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise Undecodable(f"it has more than {Image.MAX_IMAGE_PIXELS} pixels") from None
        except UnidentifiedImageError:
            raise Undecodable("it is no image of a known format") from None
        except Exception as error:  # Pillow's readers raise many types
            raise Undecodable(str(error).splitlines()[0] if str(error) else type(error).__name__) from None
    if size is not None:
        shown = shown.resize((size, size))
    return np.asarray(shown, dtype=np.uint8), tuple(notes)


def _opened(value: Any, folder: Path | None) -> Any:
    raw = value.get("bytes") if isinstance(value, dict) else value if isinstance(value, bytes) else None
    place = file_named(value, folder)
    if raw is None and place is None:
        kind = "nothing" if value is None else type(value).__name__
        raise Undecodable(f"the column holds {kind}, not the bytes of an image file")
    if place is None:
        if not raw:
            raise Undecodable("it is empty")
        return io.BytesIO(raw)
    if not place.is_file():
        raise Undecodable(f"{place} does not exist")
    if place.stat().st_size == 0:
        raise Undecodable("it is empty")
    return place


def _in_colour(picture: Any) -> tuple[Any, list[str]]:
    """As a picture of mode RGB."""
    notes = [f"read as {picture.mode}"]
    if getattr(picture, "n_frames", 1) > 1:
        notes.append("first of several frames")
    kind, profile = picture.format, picture.info.get("icc_profile")
    white_is_zero = getattr(picture, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO
    if picture.getexif().get(0x0112, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
        notes.append("turned as its orientation says")
    if picture.mode in SIXTEEN or picture.mode in ("I", "F"):
        notes.append("16 bits scaled to 8" if picture.mode != "F" else "0 to 1 scaled to 8 bits")
        scaled, clear = _scaled(picture, kind, white_is_zero), picture.info.get("transparency")
        if isinstance(clear, int):  # a value that stands for nothing
            scaled[np.asarray(picture) == clear] = 255
            notes.append(COMPOSED)
        return Image.fromarray(scaled).convert("RGB"), notes
    if picture.mode in ("RGBa", "La"):
        picture = picture.convert(picture.mode.upper())
    transparent = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    if transparent:
        picture, composed = _composed(picture)
        notes += [COMPOSED] if composed else []
    if profile:
        picture, applied = _by_profile(picture, profile)
        notes += [applied] if applied else []
    return picture.convert("RGB"), notes


def _scaled(picture: Any, kind: str | None, white_is_zero: bool) -> np.ndarray:
    """uint8 [h, w] of a picture whose values are more than 8 bits deep."""
    values = np.asarray(picture)
    if picture.mode == "F":
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):
            raise Undecodable(f"its floats reach from {low:g} to {high:g}, and only 0 to 1 says what is white")
        return np.rint(values * 255).astype(np.uint8)
    if picture.mode == "I" and kind not in SIXTEEN_BIT_FORMATS:
        raise Undecodable("its numbers, signed or of 32 bits, do not say what is white; write 8 or 16 bits")
    if white_is_zero:  # Pillow turns 8 bits only
        values = 65535 - values
    return np.rint(values.astype(np.float64) * (255 / 65535)).astype(np.uint8)


def _composed(picture: Any) -> tuple[Any, bool]:
    """Over the background; and whether anything was transparent."""
    layered = picture.convert("RGBA")
    alpha = np.asarray(layered.getchannel("A"))
    if alpha.min() == 255:
        return layered.convert("RGB"), False
    shown = Image.alpha_composite(Image.new("RGBA", layered.size, (*BACKGROUND, 255)), layered).convert("RGB")
    if alpha.max() > 0 and np.asarray(shown).min() == 255:
        raise Undecodable("all that is drawn in it is white on a transparent ground; compose it over another ground")
    return shown, True


def _by_profile(picture: Any, profile: bytes) -> tuple[Any, str | None]:
    """In the colours of sRGB, where the picture says that its own are others; and what is to be noted."""
    if picture.mode not in ("RGB", "CMYK"):
        return picture, None
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(own).lower():
            return picture, None
        converted = ImageCms.profileToProfile(picture, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
        return converted, "colour profile applied"
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return picture, "colour profile not understood, left aside"
