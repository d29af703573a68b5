"""Fetch a labelled image data set and lay it out for a sweep: python jobs/download.py --help."""

from ray_birds.cli import main

if __name__ == "__main__":
    main("download")
