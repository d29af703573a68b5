"""Write a trained model as SavedModel, ONNX or zip: python jobs/export.py --help."""

from ray_birds.cli import main

if __name__ == "__main__":
    main("export")
