"""Sweep the fine-tuning variants on a folder of labelled images: python jobs/tune.py --help."""

from ray_birds.config import TuneConfig
from ray_birds.core.terminal import run_job


def main(config: TuneConfig) -> None:
    from ray_birds.sweep.run import sweep

    sweep(config)


if __name__ == "__main__":
    run_job(TuneConfig, main)
