"""How many copies of images the check finds, and how many pairs of different birds it takes for copies.

    python benchmarks/duplicates.py ../shared/data/birds263
    python benchmarks/duplicates.py ../shared/data/birds263 --codes 1000000

Of each image one copy of each kind is made, with a seed; a copy counts as found when the check would list it
with its original. False are pairs of originals with different labels; those with one label are listed to be
looked at. --codes N also times the search for pairs among N random codes.
"""

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ray_birds.data import decode, near_duplicates
from ray_birds.data.dataset import scan

Copy = Callable[[Image.Image, np.random.Generator], Image.Image]


def resized(low: float, high: float, *, stretched: bool = False) -> Copy:
    def copy(image: Image.Image, random: np.random.Generator) -> Image.Image:
        wide, tall = random.uniform(low, high, 2)
        size = round(image.width * wide), round(image.height * (tall if stretched else wide))
        return image.resize(size, Image.Resampling.BICUBIC)

    return copy


def cropped(image: Image.Image, random: np.random.Generator) -> Image.Image:
    left, top = random.uniform(0, 0.05, 2) * image.size
    return image.crop(
        (round(left), round(top), round(left + 0.95 * image.width), round(top + 0.95 * image.height))
    )


def flipped_and_resized(image: Image.Image, random: np.random.Generator) -> Image.Image:
    return resized(0.5, 2)(ImageOps.mirror(image), random)


# All are encoded again as JPEG, with a quality from 60 to 90.
COPIES: dict[str, Copy] = {
    "re-encoded": lambda image, random: image,
    "resized to 50..200 %": resized(0.5, 2),
    "resized to 25..50 %": resized(0.25, 0.5),
    "stretched, each side to 50..200 %": resized(0.5, 2, stretched=True),
    "flipped": lambda image, random: ImageOps.mirror(image),
    "flipped, resized to 50..200 %": flipped_and_resized,
    "cropped to 95 % of each side (no target)": cropped,
}


def encoded(data: bytes, copy: Copy, random: np.random.Generator) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        made = copy(image.convert("RGB"), random)
    buffer = io.BytesIO()
    made.save(buffer, "JPEG", quality=int(random.integers(60, 91)))
    return buffer.getvalue()


def codes(data: bytes) -> tuple[bytes, bytes]:
    pixels = decode.decode(data, near_duplicates.SIZE).pixels
    assert pixels is not None
    return near_duplicates.codes(pixels)


def grouped(images: list[tuple[bytes, bytes]]) -> np.ndarray:
    own, mirrored = (list(side) for side in zip(*images, strict=True))
    return near_duplicates.groups(len(own), near_duplicates.pairs(own, mirrored))


def measure(root: str, seed: int = 0) -> tuple[dict[str, float], list[tuple[str, str, bool]], int]:
    """Share found of each kind of copy; pairs of originals taken for copies, and whether their labels are the
    same; the number of originals."""
    dataset = scan(root)
    labels = {
        path: int(label)
        for split in dataset.splits.values()
        for path, label in zip(split.paths, split.labels, strict=True)
    }
    paths = list(labels)
    contents = [Path(dataset.uri(path)).read_bytes() for path in paths]
    originals = [codes(data) for data in contents]
    random = np.random.default_rng(seed)
    shares = {}
    for kind, copy in COPIES.items():
        group = grouped([*originals, *(codes(encoded(data, copy, random)) for data in contents)])
        shares[kind] = float((group[: len(paths)] == group[len(paths) :]).mean())
    own, mirrored = (list(side) for side in zip(*originals, strict=True))
    pairs = [(paths[i], paths[j]) for i, j in near_duplicates.pairs(own, mirrored)]
    return shares, [(one, other, labels[one] == labels[other]) for one, other in pairs], len(paths)


def search(number: int) -> float:
    """Seconds that the search for pairs takes among `number` random codes and as many of mirror images."""
    random = np.random.default_rng(0)
    own, mirrored = ([random.bytes(32) for _ in range(number)] for _ in range(2))
    start = time.perf_counter()
    near_duplicates.pairs(own, mirrored)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--codes", type=int, default=0)
    given = parser.parse_args()
    shares, pairs, number = measure(given.data)
    print(f"{number:,} images, one copy of each of each kind; found:")
    for kind, share in shares.items():
        print(f"  {share:7.2%}  {kind}")
    false = sum(not same for *_, same in pairs)
    print(f"pairs of different birds taken for copies: {false}, {1000 * false / number:.2f} per 1,000 images")
    for one, other, same in pairs:
        print(f"  {'one label' if same else 'TWO LABELS'}: {one} = {other}")
    if given.codes:
        print(f"search among {given.codes:,} codes: {search(given.codes):.1f} s")


if __name__ == "__main__":
    main()
