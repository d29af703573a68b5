"""The lines that make our pixels of an image file without ray-birds: in the card, the exports and docs/model.md.

What they do is what `data.decode` does; a test runs them as they are written and compares.
"""

from ray_birds.data.square import PADDING
from ray_birds.sweep.factors import Resize

PACKAGES = "Pillow 10.1 or later and NumPy"


def pixels(size: int, resize: Resize = "stretch") -> str:
    """Python that defines `pixels(path)`, an image as (size, size, 3) uint8."""
    done, lines = _RESIZED[resize]
    return f'''import numpy as np
from PIL import Image, ImageOps


def pixels(path):
    """RGB, upright, transparency over white, 16 bits of grey as 8, {done} to the model's size."""
    photo = Image.open(path)
    photo.draft(None, ({2 * size}, {2 * size}))  # a JPEG far too large is decoded at a fraction of its size
    photo = ImageOps.exif_transpose(photo)
    if photo.mode.startswith("I"):
        photo = Image.fromarray((np.asarray(photo, "float32") * (255 / 65535)).astype("uint8"))
    if photo.has_transparency_data:
        white = Image.new("RGBA", photo.size, "white")
        photo = Image.alpha_composite(white, photo.convert("RGBA"))
    photo = photo.convert("RGB")
{lines.replace("SIZE", str(size))}
    return np.asarray(photo)
'''


_BILINEAR = "Image.Resampling.BILINEAR"
_RESIZED = {
    "stretch": ("stretched", f"    photo = photo.resize((SIZE, SIZE), {_BILINEAR}, reducing_gap=2.0)"),
    "pad": (
        "padded with grey",
        f"""    shown = [max(1, round(SIZE * side / max(photo.size))) for side in photo.size]
    photo, shrunk = Image.new("RGB", (SIZE, SIZE), {PADDING}), photo.resize(shown, {_BILINEAR}, reducing_gap=2.0)
    photo.paste(shrunk, ((SIZE - shown[0]) // 2, (SIZE - shown[1]) // 2))""",
    ),
    "crop": (
        "cropped",
        f"""    side = min(photo.size)
    left, top = (photo.width - side) / 2, (photo.height - side) / 2
    middle = (left, top, left + side, top + side)
    photo = photo.resize((SIZE, SIZE), {_BILINEAR}, middle, reducing_gap=2.0)""",
    ),
}
