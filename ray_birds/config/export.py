"""The options of `export`, and the formats that it knows."""

import re
from dataclasses import dataclass
from typing import Literal

from ray_birds.core.settings import Settings, check, option

Precision = Literal["float32", "float16", "int8"]  # of a LiteRT file
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")  # of a repository
# Format -> how the name of what is written ends.
MODEL_FORMATS = {
    "saved_model": "",
    "onnx": ".onnx",
    "litert": ".tflite",
    "openvino": "",
    "zip": ".zip",
    "huggingface": "",
}
ROW_FORMATS = {"csv": ".csv", "xlsx": ".xlsx", "camtrap-dp": "", "megadetector-json": ".json"}


@dataclass(frozen=True)
class ExportConfig(Settings):
    """Write a trained model, or finished predictions, in a form that other programs read."""

    format: Literal[
        "saved_model",
        "onnx",
        "litert",
        "openvino",
        "zip",
        "huggingface",
        "csv",
        "xlsx",
        "camtrap-dp",
        "megadetector-json",
    ]
    """Of a model: saved_model, for TensorFlow; onnx, for ONNX Runtime (needs ray-birds[onnx]); litert, for phones
    (needs ray-birds[litert]); openvino (needs ray-birds[openvino]); zip, the bundle in one file; huggingface, a
    repository of the Hugging Face Hub. Of predictions: csv; xlsx, for Excel (needs ray-birds[xlsx]); camtrap-dp,
    Camtrap DP 1.0; megadetector-json, for Timelapse."""
    output: str = ""
    """File, or folder (saved_model, openvino, huggingface, camtrap-dp), to write on a local disk; must not exist
    yet."""
    push: str = ""
    """For huggingface, instead of --output: OWNER/NAME on the Hub, to push it to. Needs ray-birds[hub] and a
    login, by HF_TOKEN or `hf auth login`."""
    model: str = ""
    """A bundle: <results>/<name>/best, or hf://OWNER/NAME. What is written is compared with the Keras model."""
    predictions: str = ""
    """The finished --output of a prediction job."""
    images: str = ""
    """Folder of images to compare a model on; by default a few drawn ones. For --precision int8, which must have
    it, a data set: train/ calibrates, valid/ compares."""
    precision: Precision = "float32"
    """For litert: float16 halves the file; int8 makes it a quarter and computes in 8 bits."""
    license: str = ""
    """For huggingface, which must have it: the model's license by the Hub's identifier, such as apache-2.0,
    cc-by-nc-4.0 or other."""
    utc_offset: str = ""
    """For camtrap-dp: zone of the cameras' clocks, such as +01:00, where photographs do not say it."""
    deployments: str = ""
    """For camtrap-dp: CSV table with the columns folder, latitude, longitude; it goes before the photographs."""
    verbose: bool = False
    """Show what TensorFlow prints."""

    def __post_init__(self) -> None:
        check(bool(self.model) != bool(self.predictions), "give either --model BUNDLE or --predictions FOLDER")
        source, mine = ("model", MODEL_FORMATS) if self.model else ("predictions", ROW_FORMATS)
        check(self.format in mine, f"--format {self.format}: expected one of --{source}: {', '.join(mine)}")
        extension = mine[self.format]
        check(not self.push or self.format == "huggingface", "--push is for --format huggingface")
        check(bool(self.output) != bool(self.push), "--output is missing; for huggingface give it or --push")
        named = not self.push or bool(HUB_NAME.fullmatch(self.push))
        check(named, f"--push {self.push}: expected OWNER/NAME")
        check(
            bool(self.push) or self.output.endswith(extension),
            f"--output {self.output}: expected a name that ends in {extension}",
        )
        check(not self.images or bool(self.model), "--images is for --model")
        check(self.precision == "float32" or self.format == "litert", "--precision is for --format litert")
        check(
            self.precision != "int8" or bool(self.images),
            "--precision int8 needs --images, a data set with train/ and valid/: to calibrate and to compare on",
        )
        self._check_license()
        for name in ("utc_offset", "deployments"):
            check(
                not getattr(self, name) or self.format == "camtrap-dp",
                f"{option(name)} is for --format camtrap-dp",
            )

    def _check_license(self) -> None:
        if self.format != "huggingface":
            check(not self.license, "--license is for --format huggingface")
            return
        such = "the Hub's identifiers, such as apache-2.0, cc-by-nc-4.0 or other"
        allowed = "which one the images and the first weights allow, ray-birds does not know"
        check(bool(self.license), f"--format huggingface needs a --license, one of {such}; {allowed}")
        known = bool(re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", self.license))
        check(known, f"--license {self.license}: expected one of {such}; {allowed}")
