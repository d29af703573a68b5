"""A bundle in MLflow's model registry, in the Keras flavour: `python -m ray_birds.sweep.trackers.registry`.

Run by `mlflow.MLflow`, with the tracking server and its credentials in the environment.
"""

import importlib.metadata
import os
import sys

from ray_birds.model import bundle


def register(uri: str, run: str, name: str) -> None:
    """Log the bundle's model to a run, and register it under a name.

    Its signature takes images (n, size, size, 3) uint8, the pixels as they are, and gives probabilities
    (n, classes) float32; the classes are in its metadata.
    """
    import keras
    import mlflow
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    kept = bundle.verify(uri)
    size = kept.variant.image_size
    pixels = Schema([TensorSpec(np.dtype(np.uint8), (-1, size, size, 3), "pixels")])
    scores = Schema([TensorSpec(np.dtype(np.float32), (-1, len(kept.classes)))])
    network = keras.saving.load_model(f"{uri}/model.keras", compile=False, safe_mode=True)
    with mlflow.start_run(run_id=run):
        mlflow.keras.log_model(
            network,
            name="model",
            signature=ModelSignature(pixels, scores),
            metadata={"classes": list(kept.classes)},
            registered_model_name=name,
            pip_requirements=[f"{one}=={importlib.metadata.version(one)}" for one in ("keras", "tensorflow")],
        )


if __name__ == "__main__":
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    register(*sys.argv[1:])
