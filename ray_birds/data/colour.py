"""An image of any mode as sRGB: 16 bits of grey as 8, transparency over white, ICC profiles by LittleCMS."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms


def flat(image: Image.Image) -> Image.Image:
    """Grey, CMYK or RGB of 8 bits without transparency, in the colours of the file's profile."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image, np.float32) * (255 / 65535)).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image if image.mode in ("L", "CMYK") else image.convert("RGB")


def srgb(image: Image.Image, profile: object) -> Image.Image:
    """A flat image as RGB in sRGB.

    What has no profile is taken for sRGB; so is what has one that is damaged or of other channels than the image.
    """
    transform = _transform(profile, image.mode) if isinstance(profile, bytes) else None
    converted = transform.apply(image) if transform else None
    return image.convert("RGB") if converted is None else converted


@lru_cache(maxsize=8)  # that of CMYK takes longer to make than to apply
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (OSError, ImageCms.PyCMSError):
        return None
