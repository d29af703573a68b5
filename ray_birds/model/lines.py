"""The lines that make our pixels of an image file without ray-birds: in the card, the exports and docs/model.md.

What they do is what `data.decode` does; a test runs them as they are written and compares.
"""

from ray_birds.data.square import PADDING
from ray_birds.sweep.factors import Resize

PACKAGES = "Pillow 11.3 or later and NumPy"


def pixels(size: int, resize: Resize = "stretch") -> str:
    """Python that defines `pixels(path)`, an image as (size, size, 3) uint8."""
    done, resized, framed = (text.replace("SIZE", str(size)) for text in _RESIZED[resize])
    return f'''import io

import numpy as np
from PIL import Image, ImageCms, ImageOps


def pixels(path):
    """sRGB, upright, transparency over white, 16 bits of grey as 8, {done} to the model's size."""
    photo = Image.open(path)
    photo.draft(None, ({2 * size}, {2 * size}))  # a JPEG far too large is decoded at a fraction of its size
    photo = ImageOps.exif_transpose(photo)
    profile = photo.info.get("icc_profile")
    if photo.mode.startswith("I"):
        photo = Image.fromarray((np.asarray(photo, "float32") * (255 / 65535)).astype("uint8"))
    if photo.has_transparency_data:
        white = Image.new("RGBA", photo.size, "white")
        photo = Image.alpha_composite(white, photo.convert("RGBA"))
    if photo.mode not in ("L", "CMYK"):
        photo = photo.convert("RGB")
{resized}
    if profile:
        try:
            source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            photo = ImageCms.profileToProfile(photo, source, srgb, outputMode="RGB")
        except (OSError, ImageCms.PyCMSError):
            pass  # a profile that is damaged, or of other channels than the image
    photo = photo.convert("RGB")
{framed}    return np.asarray(photo)
'''


_BILINEAR = "Image.Resampling.BILINEAR"
_RESIZED = {
    "stretch": ("stretched", f"    photo = photo.resize((SIZE, SIZE), {_BILINEAR}, reducing_gap=2.0)", ""),
    "pad": (
        "padded with grey",
        f"""    shown = [max(1, round(SIZE * side / max(photo.size))) for side in photo.size]
    photo = photo.resize(shown, {_BILINEAR}, reducing_gap=2.0)""",
        f"""    photo, shrunk = Image.new("RGB", (SIZE, SIZE), {PADDING}), photo
    photo.paste(shrunk, ((SIZE - shown[0]) // 2, (SIZE - shown[1]) // 2))
""",
    ),
    "crop": (
        "cropped",
        f"""    side = min(photo.size)
    left, top = (photo.width - side) / 2, (photo.height - side) / 2
    middle = (left, top, left + side, top + side)
    photo = photo.resize((SIZE, SIZE), {_BILINEAR}, middle, reducing_gap=2.0)""",
        "",
    ),
}
