"""The lines that make our pixels of an image file without ray-birds: in the card, the exports and docs/model.md.

What they do is what `data.decode` does; a test runs them as they are written and compares.
"""

PACKAGES = "Pillow 10.1 or later and NumPy"


def pixels(size: int) -> str:
    """Python that defines `pixels(path)`, an image as (size, size, 3) uint8."""
    return f'''import numpy as np
from PIL import Image, ImageOps


def pixels(path):
    """RGB, upright, transparency over white, 16 bits of grey as 8, stretched to the model's size."""
    photo = Image.open(path)
    photo.draft(None, ({2 * size}, {2 * size}))  # a JPEG far too large is decoded at a fraction of its size
    photo = ImageOps.exif_transpose(photo)
    if photo.mode.startswith("I"):
        photo = Image.fromarray((np.asarray(photo, "float32") * (255 / 65535)).astype("uint8"))
    if photo.has_transparency_data:
        white = Image.new("RGBA", photo.size, "white")
        photo = Image.alpha_composite(white, photo.convert("RGBA"))
    photo = photo.convert("RGB").resize(({size}, {size}), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(photo)
'''
