"""Fetch a labelled image data set and lay it out for a sweep: python jobs/download.py --help."""

from ray_birds.config import DownloadConfig
from ray_birds.core.terminal import run_job


def main(config: DownloadConfig) -> None:
    from ray_birds.data.sources.download import download

    download(config)


if __name__ == "__main__":
    run_job(DownloadConfig, main)
