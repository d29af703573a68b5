"""How many copies of images the check finds, and how many pairs of different images it takes for copies.

    python benchmarks/duplicates.py ../shared/data/birds263 ../shared/data/clothing --copied 100
    python benchmarks/duplicates.py ../shared/data/birds263 --codes 1000000
    python benchmarks/duplicates.py ../shared/data/birds263 --copied 100 --weights ../shared/weights/FILE

Of some images one copy of each kind is made, with a seed; a copy counts as found when the check would list it
with its original. Among all images, false are pairs of originals with different labels; those with one label are
listed to be looked at. --codes N also times the search for pairs among N random codes. --weights also measures the
candidates that `check --suspects` notes, which lie close by the features of a network.
"""

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from pooled import Backbone

from ray_birds.data import decode, near_duplicates, neighbours
from ray_birds.data.dataset import scan

Copy = Callable[[Image.Image, np.random.Generator], Image.Image]


def resized(low: float, high: float, *, stretched: bool = False) -> Copy:
    def copy(image: Image.Image, random: np.random.Generator) -> Image.Image:
        wide, tall = random.uniform(low, high, 2)
        size = round(image.width * wide), round(image.height * (tall if stretched else wide))
        return image.resize(size, Image.Resampling.BICUBIC)

    return copy


def cropped(share: float) -> Copy:
    def copy(image: Image.Image, random: np.random.Generator) -> Image.Image:
        left, top = random.uniform(0, 1 - share, 2) * image.size
        right, bottom = left + share * image.width, top + share * image.height
        return image.crop((round(left), round(top), round(right), round(bottom)))

    return copy


def flipped_and_resized(image: Image.Image, random: np.random.Generator) -> Image.Image:
    return resized(0.5, 2)(ImageOps.mirror(image), random)


def turned(how: Image.Transpose) -> Copy:
    return lambda image, random: image.transpose(how)


def bordered(share: float) -> Copy:
    """A frame in black, white or any colour, of `share` of each side."""

    def copy(image: Image.Image, random: np.random.Generator) -> Image.Image:
        colours = [(0, 0, 0), (255, 255, 255), tuple(random.integers(0, 256, 3).tolist())]
        return ImageOps.expand(
            image, tuple(round(share * side) for side in image.size), colours[random.integers(3)]
        )

    return copy


def brightened(low: float, high: float) -> Copy:
    return lambda image, random: ImageEnhance.Brightness(image).enhance(random.uniform(low, high))


def letterboxed(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """In the middle of a black or white field of 16:9, upright or lying, that holds it."""
    long = 16 / 9 if random.integers(2) else 9 / 16
    width, height = max(image.width, round(image.height * long)), max(image.height, round(image.width / long))
    return ImageOps.pad(image, (width, height), color=("black", "white")[random.integers(2)])


def screenshot(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """On a telephone's screen, dark or light, under the clock and the marks of signal and battery."""
    ground, ink = [("black", "#e6e6e6"), ("white", "#282828")][random.integers(2)]
    screen = Image.new("RGB", (360, 780), ground)
    shown = ImageOps.contain(image, (360, 624), Image.Resampling.BICUBIC)
    screen.paste(shown, ((360 - shown.width) // 2, (780 - shown.height) // 2))
    draw = ImageDraw.Draw(screen)
    draw.text((12, 8), "9:41", fill=ink)
    draw.ellipse((300, 10, 310, 20), fill=ink)
    draw.rectangle((320, 10, 344, 20), outline=ink)
    return screen


# All are encoded again as JPEG, with a quality from 60 to 90.
COPIES: dict[str, Copy] = {
    "re-encoded": lambda image, random: image,
    "resized to 50..200 %": resized(0.5, 2),
    "resized to 25..50 %": resized(0.25, 0.5),
    "stretched, each side to 50..200 %": resized(0.5, 2, stretched=True),
    "flipped": lambda image, random: ImageOps.mirror(image),
    "flipped, resized to 50..200 %": flipped_and_resized,
    "turned by 90 degrees": turned(Image.Transpose.ROTATE_90),
    "turned by 180 degrees": turned(Image.Transpose.ROTATE_180),
    "turned by 270 degrees": turned(Image.Transpose.ROTATE_270),
    "with a border of 2 %": bordered(0.02),
    "with a border of 5 %": bordered(0.05),
    "letterboxed": letterboxed,
    "screenshot": screenshot,
    "cropped to 98 % of each side (no target)": cropped(0.98),
    "cropped to 95 % of each side (no target)": cropped(0.95),
    "cropped to 90 % of each side (no target)": cropped(0.9),
}
# Hashing finds some of these; for the rest there are features.
FURTHER: dict[str, Copy] = {
    "cropped to 95 % of each side": cropped(0.95),
    "cropped to 90 % of each side": cropped(0.9),
    "cropped to 80 % of each side": cropped(0.8),
    "darker, by 0.5 to 0.8": brightened(0.5, 0.8),
    "brighter, by 1.25 to 1.6": brightened(1.25, 1.6),
    "grey": lambda image, random: image.convert("L").convert("RGB"),
    "with a border of 5 %": bordered(0.05),
    "with a border of 10 %": bordered(0.1),
    "flipped": COPIES["flipped"],
    "turned by 90 degrees": COPIES["turned by 90 degrees"],
}


def encoded(data: bytes, copy: Copy, random: np.random.Generator) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        made = copy(image.convert("RGB"), random)
    buffer = io.BytesIO()
    made.save(buffer, "JPEG", quality=int(random.integers(60, 91)))
    return buffer.getvalue()


def codes(data: bytes) -> bytes:
    pixels = decode.decode(data, near_duplicates.SIZE).pixels
    assert pixels is not None
    return near_duplicates.codes(pixels)


def grouped(images: list[bytes]) -> np.ndarray:
    return near_duplicates.groups(len(images), near_duplicates.pairs(images))


def measure(
    root: str, copied: int, seed: int = 0
) -> tuple[dict[str, float], list[tuple[str, str, bool]], tuple[int, int]]:
    """Share found of each kind of copy; pairs of originals taken for copies, and whether their labels are the
    same; the numbers of images copied and of all."""
    dataset = scan(root)
    labels = {
        path: int(label)
        for split in dataset.splits.values()
        for path, label in zip(split.paths, split.labels, strict=True)
    }
    paths = list(labels)
    originals = [codes(Path(dataset.uri(path)).read_bytes()) for path in paths]
    random = np.random.default_rng(seed)
    some = random.permutation(len(paths))[: copied or len(paths)]
    contents = [Path(dataset.uri(paths[number])).read_bytes() for number in some]
    shares = {}
    for kind, copy in COPIES.items():
        group = grouped([*originals, *(codes(encoded(data, copy, random)) for data in contents)])
        shares[kind] = float((group[some] == group[len(paths) :]).mean())
    pairs = [(paths[i], paths[j]) for i, j in near_duplicates.pairs(originals)]
    return shares, [(one, other, labels[one] == labels[other]) for one, other in pairs], (len(some), len(paths))


def by_features(root: str, backbone: Backbone, copied: int, seed: int = 0) -> None:
    """Print the share of each kind of copy that features, hashes and either find; and the pairs of originals."""
    dataset = scan(root)
    splits = dataset.splits.values()
    paths = [path for split in splits for path in split.paths]
    labels = np.concatenate([split.labels for split in splits])
    contents = [Path(dataset.uri(path)).read_bytes() for path in paths]
    features, hashes = backbone(contents), [codes(data) for data in contents]
    random = np.random.default_rng(seed)
    some = random.permutation(len(paths))[: copied or len(paths)]
    print(f"{root}: of {len(some):,} images one copy of each kind; found by features, by hashing, by either:")
    for kind, copy in FURTHER.items():
        made = [encoded(contents[number], copy, random) for number in some]
        wanted = [(int(number), len(paths) + row) for row, number in enumerate(some)]
        pairs = set(map(tuple, close(np.concatenate([features, backbone(made)])).tolist()))
        near = np.array([pair in pairs for pair in wanted])
        group = grouped([*hashes, *map(codes, made)])
        same = group[some] == group[len(paths) :]
        print(f"  {near.mean():7.2%} {same.mean():7.2%} {(near | same).mean():7.2%}  {kind}")
    group = grouped(hashes)
    new = [(i, j) for i, j in close(features).tolist() if group[i] != group[j]]
    print(
        f"among {len(paths):,} images {len(new)} pairs more, {1000 * len(new) / len(paths):.2f} per 1,000 images"
    )
    for i, j in new:
        print(f"  {'one label' if labels[i] == labels[j] else 'TWO LABELS'}: {paths[i]} ~ {paths[j]}")


def close(features: np.ndarray) -> np.ndarray:
    return neighbours.pairs(neighbours.nearest(features, 0, len(features)))


def search(number: int) -> float:
    """Seconds that the search for pairs takes among `number` images with a random code each."""
    random = np.random.default_rng(0)
    codes = [random.bytes(near_duplicates.BYTES) for _ in range(number)]
    start = time.perf_counter()
    near_duplicates.pairs(codes)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--copied", type=int, default=0, help="images of each data set that are copied; 0: all")
    parser.add_argument("--codes", type=int, default=0)
    parser.add_argument("--weights", default="")
    parser.add_argument("--backbone", default="MobileNetV2-0.35")
    given = parser.parse_args()
    if given.weights:
        backbone = Backbone(given.backbone, given.weights)
        for root in given.data:
            by_features(root, backbone, given.copied)
        return
    for root in given.data:
        shares, pairs, (copied, number) = measure(root, given.copied)
        print(f"{root}: of {copied:,} images one copy of each kind; found:")
        for kind, share in shares.items():
            print(f"  {share:7.2%}  {kind}")
        false = sum(not same for *_, same in pairs)
        print(f"among {number:,} images {len(pairs)} pairs are taken for copies")
        print(f"of different labels: {false}, {1000 * false / number:.2f} per 1,000 images")
        for one, other, same in pairs:
            print(f"  {'one label' if same else 'TWO LABELS'}: {one} = {other}")
    if given.codes:
        print(f"search among {given.codes:,} codes: {search(given.codes):.1f} s")


if __name__ == "__main__":
    main()
