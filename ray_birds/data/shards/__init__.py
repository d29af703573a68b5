"""Shards, tar and Parquet files that hold images: read where they lie."""
