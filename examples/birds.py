# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Fine-tuning on birds
#
# The walk of the article that ray-birds began with, on birds that are *drawn*, so that it needs no network: look
# at the data, see augmented views, fine-tune a pretrained network in several variants, compare them, and name the
# birds on four photos. It takes some minutes on two CPU cores. For real birds, give `DATA` your own folder, leave
# out `BACKBONE` and take more epochs.

# %%
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np

import ray_birds
from ray_birds.data import augment
from ray_birds.demo import birds, pretrain

RESULTS = Path("results/example").absolute()
DATA = birds.draw_dataset(RESULTS / "birds", train=12, valid=6, test=6)
BACKBONE = {"backbone": "MobileNetV2-0.35", "weights": pretrain.WEIGHTS, "image_size": 96}


def read(path):
    """(H, W, 3) uint8, RGB."""
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def show(images, titles, columns):
    """Images side by side, `columns` in a row."""
    rows = -(-len(images) // columns)
    _, axes = plt.subplots(rows, columns, figsize=(2.2 * columns, 2.5 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        axis.imshow(image)
        axis.set_title(title, fontsize=8)
    plt.show()


# %% [markdown]
# ## The data
#
# `train/`, `valid/` and `test/` with one folder per class. `ray_birds.check(DATA)` would look for leaks between
# splits, damaged files and misspelled classes.

# %%
classes = sorted(folder.name for folder in (DATA / "train").iterdir())
firsts = [sorted((DATA / "train" / name).iterdir())[0] for name in classes]
show([read(path) for path in firsts], classes, 6)

# %% [markdown]
# ## Augmented views
#
# With augmentation a network sees other views of each image: flipped, turned, moved, brighter or darker. A
# view is a pure function of the image, a seed, the image's index and the number of the view.

# %%
image = read(firsts[0])
views = [augment.view(image, seed=0, index=0, view=number, policy=augment.LIGHT) for number in range(5)]
show([image, *views], ["as it is", *(f"view {number + 1}" for number in range(5))], 6)

# %% [markdown]
# ## The sweep
#
# Four variants: augmentation off and on, nothing or the ten top layers unfrozen. Frozen layers are computed once
# for all of them. The winner is chosen on `valid` and scored on `test` once.

# %%
sweep = ray_birds.tune(
    data=DATA,
    results=RESULTS,
    **BACKBONE,
    augment=["off", "on"],
    unfreeze=[0, 10],
    learning_rate=0.001,
    head_epochs=4,
    fine_tune_epochs=2,
)
sweep

# %% [markdown]
# ## Curves

# %%
_, (losses, accuracies) = plt.subplots(1, 2, figsize=(11, 4))
for trial in sweep.trials.trial:
    epochs = sweep.history(trial)
    (line,) = losses.plot(epochs.epoch, epochs.valid_loss, label=trial)
    losses.plot(epochs.epoch, epochs.loss, ":", color=line.get_color())
    accuracies.plot(epochs.epoch, epochs.valid_accuracy, color=line.get_color())
losses.set(title="loss on valid (dotted: on train)", xlabel="epoch")
accuracies.set(title="accuracy on valid", xlabel="epoch", ylim=(0, 1))
losses.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## Which variant is best?
#
# With few images a difference may be chance: the sweep says which variants are not significantly different from
# the winner. `sweep.report` is a page with all of it.

# %%
_, axis = plt.subplots(figsize=(7, 2.5))
axis.barh(sweep.trials.trial[::-1], sweep.trials.valid_accuracy[::-1])
axis.set(xlabel="accuracy on valid", xlim=(0, 1))
plt.show()
print(sweep.significance.text)
print(sweep.report)

# %% [markdown]
# ## The test images
#
# One row per file, in Parquet, also where a file cannot be decoded.

# %%
scored = ray_birds.predict(model=sweep.best, input=[DATA / "test"], output=RESULTS / "predictions", overwrite=True)
rows = scored.to_pandas()
print(f"accuracy {scored.evaluation.accuracy.value:.3f}")
rows[["path", "label", "prediction", "probability", "correct"]].nsmallest(5, "probability")

# %% [markdown]
# ## Four photos
#
# In this process, without Ray: the same decoder and the same model, so the same numbers.

# %%
photos = sorted((DATA / birds.UNLABELLED).iterdir())[:4]
named = ray_birds.load(sweep.best).predict(photos)
titles = [f"{row.prediction}\n{row.probability:.0%}" for row in named.itertuples()]
show([read(path) for path in photos], titles, 4)
assert np.all(named.error == "")
