"""JPEG and PNG to arrays by Pillow, checked before they are decoded."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.formats.masks import Broken

if TYPE_CHECKING:
    from PIL import Image

Mode = Literal["RGB", "L"]
"""Three channels, or grey."""

GREY = 128
"""Background of transparent pixels, as in the experiment."""

MOST_PIXELS = 16_000_000
"""Maximum number of pixels; pictures of the data set have a million. Bounds memory to 3 bytes per pixel."""


def open_picture(content: bytes, *, name: str) -> Image.Image:
    """Open a picture without decoding it.

    Raises
    ------
    DataIntegrityError
        If it is neither JPEG nor PNG, or has more than `MOST_PIXELS`.
    """
    from PIL import Image

    broken = Broken(name)
    try:
        picture = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise broken(f"expected a picture of at most {MOST_PIXELS} pixels: {error}") from error
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise broken(f"expected a JPEG or a PNG, found {len(content)} bytes of something else ({error})") from error
    if picture.width * picture.height > MOST_PIXELS:
        raise broken(f"expected a picture of at most {MOST_PIXELS} pixels, found {picture.width} x {picture.height}")
    return picture


def as_displayed(picture: Image.Image, mode: Mode = "RGB") -> Image.Image:
    """Return a picture as displayed, with transparency over grey.

    Raises
    ------
    OSError, ValueError, SyntaxError
        From Pillow, if the picture is truncated or broken.
    """
    from PIL import Image

    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        over = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", over.size, (GREY, GREY, GREY, 255)), over).convert("RGB")
    return picture if picture.mode == mode else picture.convert(mode)


def decode(content: bytes, *, size: int | None, mode: Mode, name: str) -> NDArray[np.uint8]:
    """Decode a picture.

    Parameters
    ----------
    content : bytes
        JPEG or PNG.
    size : int, optional
        Height and width of the result, resampled bicubically with antialiasing. A JPEG is first decoded at the smallest
        of its scales with twice this size, which changes values by 0.5 of 255 on average.
    mode : {"RGB", "L"}
        Mode of the result.
    name : str
        Name of the picture for errors.

    Returns
    -------
    array of uint8, shape (y, x, 3) or (y, x)

    Raises
    ------
    DataIntegrityError
        If it is not such a picture, or is broken.
    """
    from PIL import Image

    picture = open_picture(content, name=name)
    try:
        if size is not None and picture.format == "JPEG":
            picture.draft(None, (2 * size, 2 * size))
        picture.load()
        shown = as_displayed(picture, mode)
        if size is not None and shown.size != (size, size):
            shown = shown.resize((size, size), Image.Resampling.BICUBIC)
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise Broken(name)(f"expected a complete picture, found a broken one ({error})") from error
    return np.asarray(shown)
