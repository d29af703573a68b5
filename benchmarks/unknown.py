"""How well images of no known class are told from the others by pooled features: AUROC of several distances.

    python benchmarks/unknown.py ../shared/data/birds263 ../shared/data/clothing \
        --weights ../shared/weights/mobilenetv2_0.35_224_imagenet_notop.weights.h5

The model knows the training images of the first data set; strangers are the test images of the second; or it knows
half of the classes of a data set, and the other half are strangers. 0.5 is chance, 1 tells all of them apart.
"""

import argparse

import numpy as np
from scipy.stats import rankdata

from ray_birds.data import decode
from ray_birds.data.dataset import scan
from ray_birds.evaluation import ood
from ray_birds.model import backbones, device

Images = dict[str, tuple[np.ndarray, np.ndarray]]  # by split: features (n, d) of norm sqrt(d), and labels (n,)


def features(root: str, backbone: str, weights: str, size: int) -> Images:
    """Pooled features of the frozen backbone, as a solved head reads them."""
    import keras

    base = backbones.build(backbone, weights, size)
    model = keras.Model(base.input, keras.layers.GlobalAveragePooling2D()(base.output))
    data, found = scan(root), {}
    for name, split in data.splits.items():
        parts = [split.paths[start : start + 32] for start in range(0, len(split), 32)]
        pixels = (np.stack([decode.load_known(data.uri(path), size) for path in part]) for part in parts)
        pooled = np.concatenate([np.asarray(model(batch.astype(np.float32), training=False)) for batch in pixels])
        found[name] = unit(pooled) * np.float32(pooled.shape[1] ** 0.5), split.labels
    return found


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def mahalanobis(train: np.ndarray, labels: np.ndarray, images: np.ndarray, shrunk: float = 0.3) -> np.ndarray:
    """To the nearest class, all with one covariance, shrunk towards a multiple of the identity."""
    means = np.stack([train[labels == label].mean(axis=0) for label in np.unique(labels)])
    within = train - means[np.searchsorted(np.unique(labels), labels)]
    covariance = within.T @ within / max(len(train) - len(means), 1)
    even = np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
    half = np.linalg.cholesky(np.linalg.inv((1 - shrunk) * covariance + shrunk * even))
    left, right = images @ half, means @ half
    return ((left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * left @ right.T).min(axis=1)


def doubt(train: np.ndarray, labels: np.ndarray, images: np.ndarray) -> np.ndarray:
    """One minus the probability of the prediction, by a head that is solved with a fixed penalty."""
    from ray_birds.model import probe  # TensorFlow

    known = np.unique(labels)
    batch = train, np.searchsorted(known, labels).astype(np.int32)
    found = probe.solve(lambda: [batch], lambda: [batch], np.ones(len(known), np.float32), [1e-4])
    logits = images @ found.head.kernel + found.head.bias
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return 1 - powers.max(axis=1) / powers.sum(axis=1)


DISTANCES = {
    "nearest class mean, cosine (ours)": lambda train, labels, images: ood.fit(train, labels).distance(images),
    "nearest training image, cosine": lambda train, labels, images: -(unit(images) @ unit(train).T).max(axis=1),
    "Mahalanobis, one shrunk covariance": mahalanobis,
    "1 - probability": doubt,
}


def auroc(known: np.ndarray, strangers: np.ndarray) -> float:
    """The chance that a stranger lies further away than an image of a known class."""
    ranks = rankdata(np.concatenate([known, strangers]))[len(known) :]
    return float((ranks.sum() - len(strangers) * (len(strangers) + 1) / 2) / (len(known) * len(strangers)))


def halves(images: Images, seed: int) -> tuple[Images, np.ndarray]:
    """The images of half of the classes; and those of the other half in valid and test."""
    labels = np.unique(images["train"][1])
    half = np.random.default_rng(seed).permutation(labels)[: len(labels) // 2]
    inside = {name: np.isin(split[1], half) for name, split in images.items()}
    known = {name: (split[0][inside[name]], split[1][inside[name]]) for name, split in images.items()}
    return known, np.concatenate([images[name][0][~inside[name]] for name in ("valid", "test")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs=2)
    parser.add_argument("--backbone", default="MobileNetV2-0.35")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--image-size", type=int, default=224)
    given = parser.parse_args()
    device.use_threads(2)
    one, other = (features(root, given.backbone, given.weights, given.image_size) for root in given.data)
    names = [root.rstrip("/").rpartition("/")[2] for root in given.data]
    cases = {
        f"{names[0]}, strangers {names[1]}": (one, other["test"][0]),
        f"{names[1]}, strangers {names[0]}": (other, one["test"][0]),
        f"half of {names[0]}, strangers the other": halves(one, 0),
        f"half of {names[1]}, strangers the other": halves(other, 0),
    }
    for case, (images, strangers) in cases.items():
        train, labels = images["train"]
        known = np.concatenate([images["valid"][0], images["test"][0]])
        print(f"{case}: {len(train):,} train, {len(known):,} known, {len(strangers):,} strangers")
        for name, distance in DISTANCES.items():
            found = distance(train, labels, np.concatenate([known, strangers]))
            print(f"  {auroc(found[: len(known)], found[len(known) :]):.3f}  {name}", flush=True)


if __name__ == "__main__":
    main()
