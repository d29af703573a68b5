"""Score images with a trained model: python jobs/predict.py --help."""

from ray_birds.cli import main

if __name__ == "__main__":
    main("predict")
