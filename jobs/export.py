"""Write a trained model as SavedModel, ONNX or zip: python jobs/export.py --help."""

from ray_birds.config import ExportConfig
from ray_birds.core.terminal import run_job


def main(config: ExportConfig) -> None:
    from ray_birds.model.export import export

    export(config)


if __name__ == "__main__":
    run_job(ExportConfig, main)
