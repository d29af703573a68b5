"""Sweep the fine-tuning variants on a folder of labelled images: python jobs/tune.py --help."""

from ray_birds.cli import main

if __name__ == "__main__":
    main("tune")
