"""Score images with a trained model, one Parquet row per file: python jobs/predict.py --help."""

from ray_birds.config import PredictConfig
from ray_birds.core.terminal import run_job


def main(config: PredictConfig) -> None:
    from ray_birds.prediction.run import predict

    predict(config)


if __name__ == "__main__":
    run_job(PredictConfig, main)
