"""Say what is in a folder of labelled images before a sweep: python jobs/check.py --help."""

from ray_birds.cli import main

if __name__ == "__main__":
    main("check")
