"""ray-birds: fine-tune image classifiers as a Ray Tune sweep, then score any number of images to Parquet."""

__version__ = "0.1.0"
