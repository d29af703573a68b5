"""Make a bundle of any trial of a finished sweep: python jobs/bundle.py --help."""

from ray_birds.cli import main

if __name__ == "__main__":
    main("bundle")
