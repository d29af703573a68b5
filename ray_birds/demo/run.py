"""The demo: birds are drawn, a sweep runs on them, the winner predicts. It needs no network and no data."""

from ray_birds.config import DemoConfig, PredictConfig, TuneConfig
from ray_birds.core import storage
from ray_birds.core.errors import OutputError
from ray_birds.core.terminal import say
from ray_birds.demo.birds import UNLABELLED, draw_dataset
from ray_birds.demo.pretrain import WEIGHTS
from ray_birds.demo.species import SPECIES
from ray_birds.prediction import result
from ray_birds.prediction.run import predict
from ray_birds.sweep import summary
from ray_birds.sweep.run import sweep


def demo(config: DemoConfig) -> str:
    """Draw, sweep, predict, and print all that the commands print; returns a line on trials that failed, or ""."""
    say("The demo's birds and its small backbone are drawn; a real run uses EfficientNetB0 with ImageNet weights.")
    folder = storage.local(storage.resolve(config.output))
    if (folder / "sweep").exists():
        raise OutputError(f"{folder}: holds a demo already; remove it, or give another --output")
    birds = draw_dataset(folder / "birds", config.seed)
    say(f"{birds}: drawn birds of {len(SPECIES)} species that do not exist")
    results = sweep(settings(str(birds), str(folder)))
    summary.show(results)
    prediction = PredictConfig(
        model=results.directory.best,
        input=(str(birds / "test"), str(birds / UNLABELLED)),
        output=str(folder / "predictions"),
    )
    result.show(predict(prediction), prediction)
    return summary.failures(results)


def settings(data: str, results: str) -> TuneConfig:
    """The demo's sweep: a backbone small enough to be kept in this package, at 96 pixels."""
    return TuneConfig(
        data=data,
        results=results,
        name="sweep",
        backbone=("MobileNetV2-0.35",),
        weights=str(WEIGHTS),
        image_size=96,
        unfreeze=(0, 10, 100),
    )
