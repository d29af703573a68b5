"""Say what is in a folder of labelled images before a sweep: python jobs/check.py --help."""

from ray_birds.config import CheckConfig
from ray_birds.core.terminal import run_job


def main(config: CheckConfig) -> None:
    from ray_birds.data.check import check

    check(config)


if __name__ == "__main__":
    run_job(CheckConfig, main)
