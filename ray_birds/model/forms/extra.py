"""What goes along with a model in another form: the names of its classes, and the lines that make its pixels."""

import json

from ray_birds.model import lines
from ray_birds.model.bundle import Bundle


def files(model: Bundle) -> dict[str, str]:
    """Texts by the names that they have as files."""
    return {
        "classes.json": json.dumps(model.classes, ensure_ascii=False, indent=2) + "\n",
        "pixels.py": lines.pixels(model.variant.image_size, model.variant.resize),
    }
