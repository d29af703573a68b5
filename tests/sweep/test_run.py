"""The sweep through its real parts: Ray Data, Ray Tune and Keras on a small drawn data set."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from ray_birds.config import PredictConfig, TuneConfig
from ray_birds.core.errors import DataError, OutputError, SettingsError
from ray_birds.demo.birds import draw_dataset
from ray_birds.prediction.run import predict
from ray_birds.sweep import summary
from ray_birds.sweep.run import sweep
from tests.report.test_pages import Page
from tests.sweep.test_tensorboard import events, hparams

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parent.parent.parent
WEIGHTS = REPOSITORY / "ray_birds/demo/backbone.weights.h5"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve drawn species: 48 training images, one of them cut short, 24 valid and 24 test images."""
    data = draw_dataset(tmp_path_factory.mktemp("drawn") / "birds", train=4, valid=2, test=2)
    victim = sorted((data / "train").rglob("*.jpg"))[5]
    victim.write_bytes(victim.read_bytes()[:2000])
    return data


@pytest.fixture(scope="module")
def settings(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> TuneConfig:
    """All six variants of the article's factors, two epochs a phase, exact features."""
    return TuneConfig(
        data=str(drawn),
        results=str(tmp_path_factory.mktemp("results")),
        backbone=("MobileNetV2-0.35",),
        weights=str(WEIGHTS),
        image_size=96,
        head=("adam",),
        head_epochs=2,
        fine_tune_epochs=2,
        fine_tune_factor=0.1,
        learning_rate=(0.005,),
        feature_dtype="float32",
        max_bad_images=0.02,
        name="stored",
    )


@pytest.fixture(scope="module")
def pages() -> list[str]:
    """What `stored` had as report.html, one after the other."""
    return []


@contextmanager
def reading(uri: Path, pages: list[str]) -> Iterator[None]:
    """Read a file again and again, as a browser does, and keep what is new."""
    over = threading.Event()

    def read() -> None:
        if uri.exists() and (page := uri.read_text(encoding="utf-8")) not in pages:
            pages.append(page)

    def watch() -> None:
        while not over.wait(0.05):
            read()
        read()  # what was written just before the end

    reader = threading.Thread(target=watch)
    reader.start()
    try:
        yield
    finally:
        over.set()
        reader.join()


@pytest.fixture(scope="module")
def stored(settings: TuneConfig, local_ray: None, pages: list[str]) -> Path:
    """Results of the sweep from stored features."""
    results = Path(settings.results, settings.name)
    with reading(results / "report.html", pages):
        sweep(settings)
    return results


def test_its_page_is_live_until_the_report_takes_its_place(stored: Path, pages: list[str]) -> None:
    """It changes as trials end, and the last one loads itself no more."""
    *live, ending, report = pages
    ended = [len(re.findall(r'data-state="finished"', page)) for page in (*live, ending)]
    assert ended == sorted(ended) and ended[0] == 0 and ended[-1] == 6 and len({*ended}) > 2
    assert all('http-equiv="refresh"' in page for page in (*live, ending))
    assert "the best model and the report are being made" in ending and "Trials are running" in live[-1]
    assert 'http-equiv="refresh"' not in report and report == (stored / "report.html").read_text(encoding="utf-8")


def history(results: Path, trial: str) -> pd.DataFrame:
    return pd.read_csv(results / "trials" / trial / "history.csv")


def trials(results: Path) -> pd.DataFrame:
    return pd.read_csv(results / "trials.csv").set_index("trial")


def scores(results: Path) -> pd.DataFrame:
    """What must not differ between two runs of the same sweep."""
    return trials(results)[["status", "epochs", "valid_accuracy", "valid_loss"]].sort_index()


@pytest.mark.slow
def test_stored_features_give_the_losses_of_the_images(settings: TuneConfig, stored: Path) -> None:
    sweep(settings.replace(name="direct", features="none"))
    compare_losses(stored, stored.with_name("direct"))


def compare_losses(stored: Path, direct: Path) -> None:
    """Of all six variants, epoch by epoch; and see that training lowers them."""
    assert len(trials(stored)) == 6
    for trial in trials(stored).index:
        ours, reference = history(stored, trial), history(direct, trial)
        for column in ("loss", "valid_loss"):
            np.testing.assert_allclose(ours[column], reference[column], rtol=1e-3, err_msg=f"{trial} {column}")
        assert ours["loss"].iloc[-1] < ours["loss"].iloc[0]


@pytest.mark.slow
def test_so_do_those_of_photographs(settings: TuneConfig, local_ray: None, shared: Path, tmp_path: Path) -> None:
    """Eight species, with the pretrained MobileNetV2."""
    photographs, some = shared / "data/birds263", tmp_path / "birds"
    for split in ("train", "valid", "test"):
        (some / split).mkdir(parents=True)
        for folder in sorted((photographs / split).iterdir())[:8]:
            (some / split / folder.name).symlink_to(folder)
    weights = shared / "weights/mobilenetv2_0.35_224_imagenet_notop.weights.h5"
    chosen = settings.replace(data=str(some), results=str(tmp_path), weights=str(weights))
    sweep(chosen.replace(name="stored"))
    sweep(chosen.replace(name="direct", features="none"))
    compare_losses(tmp_path / "stored", tmp_path / "direct")


@pytest.mark.slow
def test_half_precision_changes_accuracy_by_no_more_than_one_image_in_a_hundred(
    settings: TuneConfig, stored: Path
) -> None:
    sweep(settings.replace(name="half", feature_dtype="float16", augment=("off",), unfreeze=(0, 100)))
    half = trials(stored.with_name("half"))
    difference = (half["valid_accuracy"] - trials(stored).loc[half.index, "valid_accuracy"]).abs()
    assert (difference * 24 <= 1 + 1e-9).all()  # of 24 images, one is the least that can change


def test_the_same_command_again_computes_nothing_and_names_the_same_winner(
    settings: TuneConfig, stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Path(settings.results, "features")
    shards = {path: path.stat().st_mtime_ns for path in store.rglob("*.npy")}
    summary.show(sweep(settings.replace(name="again", unfreeze=(0, 10), augment=("off",))))
    again = stored.with_name("again")
    assert f"tensorboard --logdir '{again / 'tensorboard'}'" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*.npy")} == shards
    before = scores(stored).loc[scores(again).index]
    pd.testing.assert_frame_equal(scores(again), before, rtol=1e-6)
    assert winner(again) == sort_as_chosen(before).index[0]


def winner(results: Path) -> str:
    return str(json.loads((results / "run.json").read_text())["winner"])


def test_the_report_equals_the_bundles_metrics(stored: Path) -> None:
    page = Page(str(stored / "report.html"))
    scores = json.loads((stored / "best/metrics.json").read_text())
    for (_, cells), (name, row) in zip(
        page.rows("variants"), sort_as_chosen(trials(stored)).iterrows(), strict=True
    ):
        assert cells[0][1] == name and float(cells[1][0]["data-value"]) == row["valid_accuracy"]
    best = page.rows("variants")[0][1]
    for column, split in ((1, "valid"), (2, "test")):
        shown = [float(best[column][0][f"data-{part}"]) for part in ("value", "low", "high")]
        assert shown == pytest.approx(list(scores[split]["accuracy"].values()), rel=1e-12)
    confused = [[cells[0][1], cells[1][1], int(cells[2][1])] for _, cells in page.tables.get("confused", [])[1:]]
    assert confused == [[p["label"], p["prediction"], p["images"]] for p in scores["test"]["most_confused"]]
    assert f"{100 * scores['test']['macro_f1']['value']:.1f} % (" in page.sections["Each class, worst first"]


def sort_as_chosen(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(["valid_accuracy", "valid_loss"], ascending=[False, True])


def test_tensorboard_has_each_trial_and_the_winners_confusion(stored: Path) -> None:
    rows = trials(stored)
    assert {folder.name for folder in (stored / "tensorboard").iterdir()} == set(rows.index)
    for trial, row in rows.iterrows():
        read = events(stored / "tensorboard" / str(trial))
        scalars = {key: [event.value for event in read.Scalars(key)] for key in read.Tags()["scalars"]}
        told = history(stored, str(trial))
        assert scalars.pop("kept_accuracy")[-1] == pytest.approx(row["valid_accuracy"])
        for key, values in scalars.items():
            np.testing.assert_allclose(values, told[key], rtol=1e-6)
        assert "learning_rate" in scalars and "valid_accuracy" in scalars
        settings, _, ended = hparams(read)
        assert settings == pytest.approx(
            {key: str(row[key]) if key == "unfreeze" else row[key] for key in settings}
        )
        assert ended and ("confusion" in read.Tags()["images"]) == (trial == winner(stored))


def test_results_hold_what_the_contract_names(stored: Path) -> None:
    rows = trials(stored)
    best = winner(stored)
    assert rows["valid_accuracy"].max() == rows.loc[best, "valid_accuracy"]
    assert rows["test_accuracy"].notna().sum() == 1 and rows["test_accuracy"][best] >= 0
    assert (rows["status"] == "finished").all()
    with (stored / "trials.csv").open(encoding="utf-8-sig") as file:
        columns = ["trial", "backbone", "augment", "resize", "unfreeze", "head", "learning_rate"]
        assert next(csv.reader(file))[: len(columns)] == columns
    for trial in rows.index:
        predictions = pd.read_parquet(stored / "trials" / trial / "valid_predictions.parquet")
        assert predictions["correct"].mean() == pytest.approx(rows.loc[trial, "valid_accuracy"])
        assert rows.loc[trial, "epochs"] == (2 if "unfreeze0" in trial else 4)
    assert {path.name for path in (stored / "best").iterdir()} >= {
        "model.keras",
        "classes.json",
        "variant.json",
        "metrics.json",
        "versions.json",
    }


_PLAIN_KERAS = """
import json, sys
import keras, numpy as np
from PIL import Image
model = keras.models.load_model(sys.argv[1])
pixels = np.stack([np.asarray(Image.open(path).resize((96, 96), Image.Resampling.BILINEAR, reducing_gap=2.0))
                   for path in json.loads(sys.argv[2])])
assert "ray_birds" not in sys.modules
print(json.dumps(model.predict(pixels, verbose=0).max(axis=1).tolist()))
"""


def test_predictions_equal_the_sweep_and_plain_keras(stored: Path, drawn: Path, tmp_path: Path) -> None:
    output = tmp_path / "predictions"
    inputs = (str(drawn / "test"), str(drawn / "images to test"))
    predict(PredictConfig(model=str(stored / "best"), input=inputs, output=str(output)))
    rows = pd.read_parquet(output)
    unlabelled = rows[rows["input"] == inputs[1]]
    assert len(rows) == 24 + len(list((drawn / "images to test").iterdir()))
    assert len(unlabelled) and unlabelled["label"].isna().all() and unlabelled["correct"].isna().all()
    assert rows["correct"].mean() == trials(stored).loc[winner(stored), "test_accuracy"]

    # In a process that never imports ray_birds; drawn images are decoded there by Pillow alone.
    some = rows[rows["label"].notna()].iloc[:5]
    paths = [str(drawn / "test" / path) for path in some["path"]]
    command = [sys.executable, "-c", _PLAIN_KERAS, str(stored / "best/model.keras"), json.dumps(paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    np.testing.assert_allclose(json.loads(done.stdout.splitlines()[-1]), some["probability"], atol=1e-5)


def test_an_existing_name_is_refused_and_other_settings_cannot_resume_it(
    settings: TuneConfig, stored: Path
) -> None:
    with pytest.raises(OutputError, match="--resume"):
        sweep(settings)
    with pytest.raises(SettingsError, match="--head-epochs"):
        sweep(settings.replace(resume=True, head_epochs=3), given={"head_epochs"})
    with pytest.raises(OutputError, match="no sweep"):
        sweep(settings.replace(resume=True, name="never"))


def test_other_images_cannot_resume_a_sweep(settings: TuneConfig, stored: Path) -> None:
    other = Path(shutil.copytree(stored, stored.with_name("other")))
    kept = TuneConfig.from_json((stored / "config.json").read_text()).replace(name="other")
    (other / "config.json").write_text(kept.to_json())
    about = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps(about | {"fingerprint": "of other images"}))
    with pytest.raises(DataError, match=r"no longer those that the sweep began with.*--name"):
        sweep(settings.replace(name="other", resume=True))


@pytest.mark.slow
def test_what_finds_no_room_in_the_store_is_trained_from_images(
    settings: TuneConfig, stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "ray_birds.features.store.free_bytes", lambda uri: 500_000
    )  # for the pooled features alone
    uri = str(stored.with_name("small"))
    Path(uri).mkdir()
    sweep(settings.replace(name="short", augment=("off",), unfreeze=(0, 10), features_dir=uri))
    short = stored.with_name("short")
    assert json.loads((short / "run.json").read_text())["from_features"] == ["plain-unfreeze0-lr0.005"]
    told = capsys.readouterr().out
    assert "plain-unfreeze10-lr0.005: its features need" in told and "runs from images" in told
    pd.testing.assert_frame_equal(scores(short), scores(stored).loc[scores(short).index], rtol=1e-3)


@pytest.mark.slow
def test_a_failed_trial_is_named_and_the_others_count(settings: TuneConfig, stored: Path) -> None:
    quick = settings.replace(name="failing", unfreeze=(0,), augment=("off",), learning_rate=(0.01, 0.02))
    blocked = Path(settings.results, "failing")
    (blocked / "trials").mkdir(parents=True)
    (blocked / "trials" / "plain-unfreeze0-lr0.02").write_text("not a folder")
    (blocked / "config.json").write_text((stored / "config.json").read_text())
    resolved = TuneConfig.from_json((stored / "config.json").read_text())
    kept = resolved.replace(name="failing", unfreeze=(0,), augment=("off",), learning_rate=(0.01, 0.02))
    (blocked / "config.json").write_text(kept.to_json())
    done = sweep(quick.replace(resume=True, max_failures=0), given={"max_failures"})
    assert "1 of 2 trials failed: plain-unfreeze0-lr0.02" in summary.failures(done)
    rows = trials(blocked)
    assert rows["status"].to_dict() == {"plain-unfreeze0-lr0.01": "finished", "plain-unfreeze0-lr0.02": "failed"}
    assert winner(blocked) == "plain-unfreeze0-lr0.01"
    assert isinstance(rows.loc["plain-unfreeze0-lr0.02", "error"], str)


@pytest.mark.slow
def test_a_trial_that_diverges_has_failed_once_and_never_wins(
    settings: TuneConfig, local_ray: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ray_birds.config.tune._check_values", lambda *args: None)  # takes no rate as high as that
    quick = settings.replace(name="diverged", unfreeze=(0,), augment=("off",), image_size=32, features="none")
    done = sweep(quick.replace(learning_rate=(0.005, 1e38)))
    (lost,) = done.failed
    assert lost.name == "plain-unfreeze0-lr1e+38" and "not finite after epoch 1; give a lower" in lost.error
    assert lost.failures == 1 and done.winner is not None and done.winner.name == "plain-unfreeze0-lr0.005"
    assert f"{lost.name}: failed after epoch 0: {lost.error}" in capsys.readouterr().out


def test_bad_training_images_are_left_out_up_to_a_share(settings: TuneConfig, drawn: Path, stored: Path) -> None:
    bad = pd.read_csv(stored / "bad_images.csv")
    assert bad["path"].tolist() == [str(sorted((drawn / "train").rglob("*.jpg"))[5].relative_to(drawn))]
    assert json.loads((stored / "dataset.json").read_text())["splits"]["train"] == 47
    with pytest.raises(DataError, match=r"1 of 96 images .* --max-bad-images"):
        sweep(settings.replace(name="strict", max_bad_images=0.01))


def command(settings: TuneConfig) -> list[str]:
    """The command line of a one-variant sweep in a process of its own."""
    options = {
        "--data": settings.data,
        "--results": settings.results,
        "--name": settings.name,
        "--backbone": settings.backbone[0],
        "--weights": settings.weights,
        "--image-size": "96",
        "--head": "adam",
        "--head-epochs": "2",
        "--fine-tune-epochs": "4",
        "--fine-tune-factor": "0.1",
        "--learning-rate": "0.005",
        "--feature-dtype": "float32",
        "--augment": "off",
        "--unfreeze": "10",
        "--max-bad-images": "0.02",
        "--features-dir": str(Path(settings.results, "features")),
    }
    return [sys.executable, str(REPOSITORY / "jobs/tune.py"), *(word for pair in options.items() for word in pair)]


def start(words: list[str]) -> subprocess.Popen[str]:
    # A Ray of its own, so that the trial is this process's descendant and ends with it.
    environment = os.environ | {"RAY_ADDRESS": "local"}
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        preexec_fn=_hear_interrupts,
    )


def _hear_interrupts() -> None:
    """Also where the tests run in a shell's background, whose processes are told to ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for_epoch(results: Path, epochs: int) -> None:
    """Until the trial has written its state after this many epochs."""
    deadline = time.monotonic() + 180
    path = results / "trials/plain-unfreeze10-lr0.005/history.csv"
    while time.monotonic() < deadline:
        if path.exists() and len(path.read_text().splitlines()) > epochs:
            return
        time.sleep(0.02)
    raise AssertionError(f"no epoch {epochs} in {results}")


def trial_process(driver: int) -> psutil.Process:
    """The process that trains: the one of the driver's descendants that runs Tune's trainable."""
    for process in psutil.Process(driver).children(recursive=True):
        if any("ImplicitFunc" in word or "trainable" in word for word in process.cmdline()):
            return process
    raise AssertionError("no trial is running")


@pytest.mark.slow
def test_a_killed_trial_and_a_killed_driver_change_no_number(settings: TuneConfig, local_ray: None) -> None:
    calm = settings.replace(name="calm", augment=("off",), unfreeze=(10,), fine_tune_epochs=4)
    sweep(calm)
    one = calm.replace(name="killed")
    results = Path(settings.results, "killed")
    driver = start(command(one))
    wait_for_epoch(results, 2)
    trial_process(driver.pid).kill()
    wait_for_epoch(results, 4)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    driver = start([*command(one), "--resume"])
    output, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, output
    columns = ["seconds", "images_per_second", "waited"]
    killed, undisturbed = (
        history(results.with_name(name), "plain-unfreeze10-lr0.005").drop(columns=columns)
        for name in ("killed", "calm")
    )
    pd.testing.assert_frame_equal(killed, undisturbed, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_an_interrupted_sweep_has_no_winner_and_says_how_it_is_resumed(
    settings: TuneConfig, local_ray: None, sent: signal.Signals, code: int, word: str
) -> None:
    config = settings.replace(name=word, augment=("off",), unfreeze=(10,))
    results = Path(settings.results, word)
    words = command(config)
    words[words.index("--fine-tune-epochs") + 1] = "200"  # so that it is still at work
    driver = start(words)
    wait_for_epoch(results, 3)
    driver.send_signal(sent)
    output, _ = driver.communicate(timeout=120)
    assert driver.returncode == code, output
    assert output.splitlines()[-1] == f"error: {word}; --name {word} --resume continues"
    assert "Traceback" not in output and "SIGTERM received" not in output
    assert not (results / "best").exists() and not list(results.rglob("test_predictions.parquet"))
    driver = start([*words, "--resume"])
    output, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0 and winner(results) == "plain-unfreeze10-lr0.005", output


def test_the_default_recipe_ranks_and_keeps_the_best_epoch(settings: TuneConfig, stored: Path) -> None:
    """The winner's scores, its predictions and its bundle are all of the epoch that the table names."""
    ours = {"head": ("probe",), "augment": ("on",), "unfreeze": (0, 10), "learning_rate": (0.01,)}
    done = sweep(settings.replace(name="default", **ours))
    results = stored.with_name("default")
    rows = trials(results)
    assert (rows["status"] == "finished").all()
    assert rows["epochs"].to_dict() == {name: 1 if "unfreeze0" in name else 3 for name in rows.index}
    for trial in done.trials:
        best = history(results, trial.name).sort_values(["valid_accuracy", "valid_loss"], ascending=[False, True])
        assert rows.loc[trial.name, "kept_epoch"] == best["epoch"].iloc[0]
        assert trial.valid is not None and trial.valid.accuracy == trial.valid_accuracy
    metrics = json.loads((results / "best/metrics.json").read_text())
    assert metrics["valid"]["accuracy"]["value"] == pytest.approx(rows["valid_accuracy"].max())
    card = (results / "best/README.md").read_text()
    assert f"Weights: those of epoch {rows['kept_epoch'].iloc[0]}, the best on valid" in card


@pytest.mark.slow
def test_asha_stops_in_fine_tuning_what_falls_behind_and_no_head(settings: TuneConfig, stored: Path) -> None:
    """Rates are trained one after the other; from a solved head the last one unlearns what that had."""
    ours = settings.replace(name="asha", scheduler="asha", augment=("off",), head=("probe",), fine_tune_factor=0.5)
    sweep(ours.replace(unfreeze=(0, 10), fine_tune_epochs=4, learning_rate=(0.001, 0.002, 3.0)))
    rows = trials(stored.with_name("asha"))
    stopped = rows[rows["status"] == "stopped"]
    assert "plain-unfreeze10-lr3" in stopped.index and stopped["epochs"].isin([2, 3]).all()  # rungs 1 and 2
    assert rows["epochs"]["plain-unfreeze0-lr0.001"] == 1 and "plain-unfreeze0-lr0.001" not in stopped.index
    assert winner(stored.with_name("asha")) in rows.index[rows["status"] == "finished"]


@pytest.mark.slow
def test_optuna_tries_as_many_as_it_may_and_results_are_of_these(settings: TuneConfig, stored: Path) -> None:
    rates = (0.001, 0.002, 0.005, 0.01)
    one = settings.replace(name="optuna", search="optuna", samples=3, learning_rate=rates)
    one = one.replace(augment=("off",), unfreeze=(0,))
    done = sweep(one)
    rows = trials(stored.with_name("optuna"))
    assert len(rows) == 3 and (rows["status"] == "finished").all() and not done.left_out
    assert set(rows["learning_rate"]) < set(rates) and winner(stored.with_name("optuna")) in rows.index
    again = sweep(one.replace(resume=True))
    assert {trial.name for trial in again.trials} == set(rows.index)


@pytest.mark.slow
def test_a_time_limit_compares_what_has_ended(
    settings: TuneConfig, stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The frozen ones come first and end; what would take a day is left out, by name, and can be gone on with."""
    endless = settings.replace(
        name="limited", augment=("off",), unfreeze=(0, 10), fine_tune_epochs=100_000, time_limit="100s"
    )
    done = sweep(endless)
    rows = trials(stored.with_name("limited"))
    frozen = [name for name in rows.index if "unfreeze0" in name]
    assert (rows.loc[frozen, "status"] == "finished").all() and winner(stored.with_name("limited")) in frozen
    late = rows.drop(frozen)
    assert len(late) and (late["status"] == "stopped").all()
    assert done.left_out == (
        f"{len(late)} of {len(rows)} variants had not ended when the time limit of 100s was over, and are not "
        f"compared: {', '.join(late.index)}."
    )
    assert done.left_out in (stored.with_name("limited") / "report.html").read_text()


def test_a_time_limit_that_features_alone_take_is_said(settings: TuneConfig, tmp_path: Path) -> None:
    hasty = settings.replace(name="hasty", time_limit="1s", features_dir=str(tmp_path))  # where none are yet
    with pytest.raises(SettingsError, match=r"--time-limit 1s: over before the first trial; give more"):
        sweep(hasty)


def test_article_preset_and_random_samples_run_what_they_say(settings: TuneConfig) -> None:
    from ray_birds.sweep.plan import variants

    article = settings.replace(preset="article", head=("probe",), fine_tune_factor=0.5, learning_rate=(0.001,))
    assert list(variants(article)) == [
        "plain-unfreeze0-lr0.001",
        "article-unfreeze0-lr0.001",
        "article-unfreeze10-lr0.001",
        "plain-unfreeze100-lr0.001",
    ]
    sampled = settings.replace(search="random", samples=5, learning_rate=(1e-4, 1e-2))
    assert list(variants(sampled)) == list(variants(sampled)) and len(variants(sampled)) <= 5
    assert all(1e-4 <= variant.learning_rate <= 1e-2 for variant in variants(sampled).values())
