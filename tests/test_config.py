"""Settings: every option of a sweep and of a prediction from the command line, values refused, JSON both ways."""

import dataclasses
import sys
from typing import Any, TypeVar

import pytest

from ray_birds.cli import run_job
from ray_birds.config import ARTICLE_RECIPE, CheckConfig, DemoConfig, DownloadConfig, PredictConfig, TuneConfig
from ray_birds.core.errors import SettingsError
from ray_birds.core.settings import Settings
from ray_birds.sweep import plan
from ray_birds.sweep.factors import BACKBONES, Variant

Made = TypeVar("Made", bound=Settings)
PREDICT = ("--model", "m", "--input", "a", "--output", "o")

# Command line -> the one field that it sets, and its value.
TUNE_VALID: list[tuple[str, str, Any]] = [
    ("--data /birds", "data", "/birds"),
    ("--labels l.csv", "labels", "l.csv"),
    ("--group-by folder:2", "group_by", "folder:2"),
    ("--labels l.csv --columns path=file label=a=b", "columns", ("path=file", "label=a=b")),
    ("--exclude-class A --exclude-class B", "exclude_class", ("A", "B")),
    ("--valid-share 0.2", "valid_share", 0.2),
    ("--test-share 0", "test_share", 0.0),
    ("--split-seed 1", "split_seed", 1),
    ("--folds 5", "folds", 5),
    ("--group-by burst:30", "group_by", "burst:30"),
    ("--results out", "results", "out"),
    ("--name first", "name", "first"),
    ("--preset article", "preset", "article"),
    ("--augment on light article rand", "augment", ("on", "light", "article", "rand")),
    ("--unfreeze 0 7 all", "unfreeze", (0, 7, "all")),
    ("--learning-rate 1e-2 0.001", "learning_rate", (0.01, 0.001)),
    ("--backbone " + " ".join(BACKBONES), "backbone", BACKBONES),
    ("--weights none", "weights", "none"),
    ("--image-size 96", "image_size", 96),
    ("--resize stretch pad crop", "resize", ("stretch", "pad", "crop")),
    ("--batch-size 1", "batch_size", 1),
    ("--head-epochs 1", "head_epochs", 1),
    ("--fine-tune-epochs 9", "fine_tune_epochs", 9),
    ("--fine-tune-factor 1", "fine_tune_factor", 1.0),
    ("--warmup-epochs 1.5", "warmup_epochs", 1.5),
    ("--keep last", "keep", "last"),
    ("--patience 2", "patience", 2),
    ("--head probe adam", "head", ("probe", "adam")),
    ("--optimizer adam adamw", "optimizer", ("adam", "adamw")),
    ("--weight-decay 0 0.1", "weight_decay", (0.0, 0.1)),
    ("--schedule constant", "schedule", ("constant",)),
    ("--label-smoothing 0", "label_smoothing", (0.0,)),
    ("--dropout 0 0.2", "dropout", (0.0, 0.2)),
    ("--ema 0.99", "ema", (0.99,)),
    ("--clip-norm 1", "clip_norm", (1.0,)),
    ("--seed 0 1 2", "seed", (0, 1, 2)),
    ("--search random --samples 8", "samples", 8),
    ("--search optuna --samples 8", "search", "optuna"),
    ("--scheduler asha", "scheduler", "asha"),
    ("--loss focal cross_entropy", "loss", ("focal", "cross_entropy")),
    ("--class-weights none balanced", "class_weights", ("none", "balanced")),
    ("--select-by macro_f1", "select_by", "macro_f1"),
    ("--time-limit 1h30m", "time_limit", "1h30m"),
    ("--features none", "features", "none"),
    ("--feature-dtype float32", "feature_dtype", "float32"),
    ("--features-dir store", "features_dir", "store"),
    ("--verify-features", "verify_features", True),
    ("--verify-images", "verify_images", True),
    ("--augment-views 4", "augment_views", 4),
    ("--gpus-per-trial 0.25", "gpus_per_trial", 0.25),
    ("--gpus-per-trial None", "gpus_per_trial", None),
    ("--gpus-per-trial 2", "gpus_per_trial", 2.0),
    ("--precision mixed_bfloat16", "precision", "mixed_bfloat16"),
    ("--cpus-per-trial 2", "cpus_per_trial", 2),
    ("--workers-per-trial 4", "workers_per_trial", 4),
    ("--max-failures 0", "max_failures", 0),
    ("--max-bad-images 1", "max_bad_images", 1.0),
    ("--max-bytes 1", "max_bytes", 1),
    ("--margin 0.5", "margin", 0.5),
    ("--tta flip", "tta", "flip"),
    ("--score-all", "score_all", True),
    ("--track mlflow:http://localhost:5000 wandb", "track", ("mlflow:http://localhost:5000", "wandb")),
    ("--name first --resume", "resume", True),
    ("--verbose", "verbose", True),
]
# Options that these need.
TUNE_WITH: dict[str, dict[str, Any]] = {
    "columns": {"labels": "l.csv"},
    "resume": {"name": "first"},
    "samples": {"search": "random"},
    "search": {"samples": 8},
}
PREDICT_VALID: list[tuple[str, str, Any]] = [
    ("", "model", "m"),
    ("--input a s3://b/c *.jpg", "input", ("a", "s3://b/c", "*.jpg")),
    ("--labels l.csv", "labels", "l.csv"),
    ("--columns label=species --labels l.csv", "columns", ("label=species",)),
    ("", "output", "o"),
    ("--show", "show", True),
    ("--batch-size 256", "batch_size", 256),
    ("--tta flip", "tta", "flip"),
    ("--top-k 1", "top_k", 1),
    ("--probabilities", "probabilities", True),
    ("--threshold 0.8", "threshold", 0.8),
    ("--target-accuracy 0.95", "target_accuracy", 0.95),
    ("--ood-score", "ood_score", True),
    ("--reject-unknown 99", "reject_unknown", 99.0),
    ("--taxonomy t.csv --threshold 0.8", "taxonomy", "t.csv"),
    ("--only-classes l.txt", "only_classes", "l.txt"),
    ("--embeddings", "embeddings", True),
    ("--metadata", "metadata", True),
    ("--sequence-seconds 60", "sequence_seconds", 60.0),
    ("--explain 24", "explain", 24),
    ("--map 2000", "map", 2000),
    ("--decoders 3", "decoders", 3),
    ("--gpus 2", "gpus", 2),
    ("--engine local", "engine", "local"),
    ("--max-pixels 1", "max_pixels", 1),
    ("--max-bytes 1", "max_bytes", 1),
    ("--model-digest 0f", "model_digest", "0f"),
    ("--overwrite", "overwrite", True),
    ("--resume", "resume", True),
    ("--update", "update", True),
    ("--verbose", "verbose", True),
]
CHECK_VALID: list[tuple[str, str, Any]] = [
    ("", "data", "d"),
    ("--output o", "output", "o"),
    ("--labels l.csv", "labels", "l.csv"),
    ("--columns split=fold --labels l.csv", "columns", ("split=fold",)),
    ("--group-by site --labels l.csv", "group_by", "site"),
    ("--exclude-class A --exclude-class B", "exclude_class", ("A", "B")),
    ("--max-bytes 1", "max_bytes", 1),
    ("--suspects", "suspects", True),
    ("--suspects --backbone ConvNeXtTiny", "backbone", "ConvNeXtTiny"),
    ("--suspects --weights w.h5", "weights", "w.h5"),
    ("--suspects --image-size 96", "image_size", 96),
    ("--suspects --features-dir f", "features_dir", "f"),
    ("--verbose", "verbose", True),
]

# Values refused by our own checks: one line on stderr that names the option.
CHECK_REFUSED = [
    "--max-bytes 0",
    "--weights w.h5",
    "--backbone ConvNeXtTiny",
    "--image-size 96",
    "--features-dir f",
    "--image-size 16 --suspects",
    "--weights none --suspects",
]
TUNE_REFUSED = [
    "--columns path=file",
    "--group-by site",
    "--group-by folder:0",
    "--group-by burst:0",
    "--group-by burst:half",
    "--folds 1",
    "--folds 5 --patience 2",
    "--folds 5 --scheduler asha",
    "--folds 5 --search optuna --samples 8",
    "--folds 5 --score-all",
    "--folds 5 --valid-share 0.2",
    "--group-by folder:one --labels l.csv",
    "--columns weight=w --labels l.csv",
    "--columns path= --labels l.csv",
    "--columns path --labels l.csv",
    "--columns path=a path=b --labels l.csv",
    "--max-bytes 0",
    "--valid-share 0",
    "--test-share -0.1",
    "--test-share 0.9",
    "--split-seed -1",
    "--unfreeze -1",
    "--unfreeze 10 10",
    "--augment on on",
    "--learning-rate 0",
    "--learning-rate nan",
    "--learning-rate 10",
    "--backbone ResNet50V2 ResNet50V2",
    "--seed 1 1",
    "--seed -1",
    "--image-size 31",
    "--image-size 4097",
    "--batch-size 0",
    "--head-epochs 0",
    "--fine-tune-epochs 0",
    "--fine-tune-factor 0",
    "--fine-tune-factor 1.1",
    "--warmup-epochs -1",
    "--warmup-epochs 9",
    "--patience -1",
    "--weight-decay -0.1",
    "--label-smoothing 1",
    "--dropout 1",
    "--ema 1",
    "--clip-norm -1",
    "--clip-norm inf",
    "--samples -1",
    "--samples 3",
    "--search random",
    "--search optuna --samples 3 --seed 0 1",
    "--augment-views -1",
    "--max-failures -1",
    "--time-limit soon",
    "--time-limit 30",
    "--time-limit -5m",
    "--max-bad-images 1.5",
    "--margin 0",
    "--margin 100",
    "--max-bad-images nan",
    "--gpus-per-trial -0.5",
    "--gpus-per-trial 1.5",
    "--gpus-per-trial 0.5 --workers-per-trial 2",
    "--workers-per-trial 0",
    "--workers-per-trial 3 --batch-size 2",
    "--cpus-per-trial 0",
    "--track comet",
    "--track mlflow:",
    "--track wandb:project",
    "--track wandb wandb",
    "--track mlflow mlflow:http://host",
    "--name a/b",
    "--resume",
    "--preset article --unfreeze 10",
    "--preset article --head probe adam",
    "--preset article --keep best --patience 2",
    "--preset article --search random --samples 3",
]
PREDICT_REFUSED = ["--batch-size 0", "--top-k 0", "--max-pixels 0", "--max-bytes 0", "--decoders 0", "--gpus -1"]
PREDICT_REFUSED += ["--explain 49", "--explain -1", "--map 5001", "--map -1"]
PREDICT_REFUSED += ["--engine local --gpus 1", "--labels l.csv --input a b", "--columns path=file"]
PREDICT_REFUSED += ["--columns split=fold --labels l.csv"]
PREDICT_REFUSED += ["--sequence-seconds -1", "--sequence-seconds nan", "--update --overwrite"]
PREDICT_REFUSED += ["--threshold 0", "--target-accuracy 95", "--reject-unknown 101", "--taxonomy t.csv"]
PREDICT_REFUSED += [
    "--threshold nan",
    "--target-accuracy 0.9 --only-classes l.txt",
    "--target-accuracy 0.9 --tta flip",
    "--threshold 0.8 --target-accuracy 0.9",
]

# Words of another kind: refused by the parser, which also shows a usage.
TUNE_OTHER_KIND = [
    "--preset nature",
    "--augment maybe",
    "--unfreeze some",
    "--learning-rate fast",
    "--backbone VGG16",
    "--image-size 9.5",
    "--seed one",
    "--scheduler fifo",
    "--search bayes",
    "--head linear",
    "--optimizer sgd",
    "--keep first",
    "--features some",
    "--feature-dtype float64",
    "--gpus-per-trial one",
    "--precision float16",
    "--cpus-per-trial 1.5",
    "--max-bad-images few",
]


def parse(settings: type[Made], words: str | tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> Made:
    """What a job gets from this command line."""
    made: list[Made] = []
    monkeypatch.setattr(sys, "argv", ["job", *(words.split() if isinstance(words, str) else words)])
    run_job(settings, lambda config, given: made.append(config), sys.argv[1:], "job")
    return made[0]


def predict_words(words: str) -> tuple[str, ...]:
    return (*PREDICT[:2], *(() if "--input" in words else PREDICT[2:4]), *PREDICT[4:], *words.split())


@pytest.mark.parametrize(("words", "field", "value"), TUNE_VALID)
def test_tune_takes(words: str, field: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse(TuneConfig, words, monkeypatch)
    assert config == TuneConfig(**{field: value}, **TUNE_WITH.get(field, {}))
    assert getattr(config, field) == value


@pytest.mark.parametrize(("words", "field", "value"), PREDICT_VALID)
def test_predict_takes(words: str, field: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse(PredictConfig, predict_words(words), monkeypatch)
    needed: dict[str, dict[str, Any]] = {"taxonomy": {"threshold": 0.8}, "columns": {"labels": "l.csv"}}
    with_it = needed.get(field, {})
    assert config == PredictConfig(**{"model": "m", "input": ("a",), "output": "o"} | {field: value} | with_it)


@pytest.mark.parametrize(("words", "field", "value"), CHECK_VALID)
def test_check_takes(words: str, field: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse(CheckConfig, f"--data d {words}", monkeypatch)
    with_it: dict[str, Any] = {"labels": "l.csv"} if field in ("columns", "group_by") else {}
    with_it |= {"suspects": True} if "--suspects" in words else {}
    assert config == CheckConfig(**{"data": "d"} | {field: value} | with_it)


@pytest.mark.parametrize(
    ("settings", "cases"),
    [(TuneConfig, TUNE_VALID), (PredictConfig, PREDICT_VALID), (CheckConfig, CHECK_VALID)],
    ids=["tune", "predict", "check"],
)
def test_no_option_is_left_out_above(settings: type, cases: list[tuple[str, str, Any]]) -> None:
    assert {case[1] for case in cases} == {field.name for field in dataclasses.fields(settings)}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        *((TuneConfig, words) for words in TUNE_REFUSED),
        *((PredictConfig, words) for words in PREDICT_REFUSED),
        *((CheckConfig, words) for words in CHECK_REFUSED),
    ],
)
def test_refused_in_one_line_that_names_the_option(
    settings: type, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole: dict[type, Any] = {PredictConfig: predict_words(words), CheckConfig: f"{words} --data d"}
    with pytest.raises(SystemExit) as stop:
        parse(settings, whole.get(settings, words), monkeypatch)
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1
    assert words.split()[0] in said.err


@pytest.mark.parametrize("words", TUNE_OTHER_KIND)
def test_another_kind_of_value_is_refused_by_name(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(TuneConfig, words, monkeypatch)
    said = capsys.readouterr()
    assert stop.value.code == 2 and words.split()[0] in said.out + said.err


def test_a_switch_takes_no_value(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(TuneConfig, "--score-all yes", monkeypatch)
    said = capsys.readouterr()
    assert stop.value.code == 2 and "yes" in said.out + said.err


@pytest.mark.parametrize("missing", ["--model", "--input"])
def test_predict_asks_for_what_it_needs(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at = PREDICT.index(missing)
    with pytest.raises(SystemExit) as stop:
        parse(PredictConfig, PREDICT[:at] + PREDICT[at + 2 :], monkeypatch)
    said = capsys.readouterr()
    assert stop.value.code == 2 and missing in said.out + said.err


@pytest.mark.parametrize("field", ["overwrite", "resume", "probabilities", "embeddings"])
def test_what_needs_an_output_says_so(field: str) -> None:
    with pytest.raises(SettingsError, match=f"^--{field} needs an --output$"):
        PredictConfig(model="m", input=("a",)).replace(**{field: True})


@pytest.mark.parametrize(("field", "value"), [("unfreeze", ()), ("seed", ()), ("backbone", ())])
def test_an_empty_grid_is_refused(field: str, value: tuple[()]) -> None:
    with pytest.raises(SettingsError, match=f"^--{field} needs at least one value$"):
        TuneConfig(**{field: value})
    with pytest.raises(SettingsError, match="--input"):
        PredictConfig(model="m", input=(), output="o")


@pytest.mark.parametrize(
    "settings",
    [
        Variant(backbone="ResNet50V2", augment="on", unfreeze="all", learning_rate=3e-4, seed=7, augment_views=2),
        TuneConfig(unfreeze=(0, "all"), learning_rate=(0.1, 1e-5), gpus_per_trial=0.5, name="ÉTÉ 鶯"),
        TuneConfig(),
        PredictConfig(model="m", input=("a b", "é"), output="o", probabilities=True),
        DemoConfig(output="birds", seed=3),
        DownloadConfig(output="birds", dataset="some/birds"),
        CheckConfig(data="birds", output="findings"),
    ],
    ids=lambda settings: type(settings).__name__,
)
def test_json_both_ways(settings: Settings) -> None:
    assert type(settings).from_json(settings.to_json()) == settings


def test_json_with_an_unknown_key_or_a_bad_value_is_refused() -> None:
    with pytest.raises(SettingsError, match="TuneConfig: unknown setting unfreez;"):
        TuneConfig.from_json('{"unfreez": [10]}')
    with pytest.raises(SettingsError, match="--batch-size 0"):
        TuneConfig.from_json('{"batch_size": 0}')


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TuneConfig().name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("variant", "name", "full"),
    [
        (Variant(), "plain-unfreeze0-lr0.001", "EfficientNetB0-plain-unfreeze0-lr0.001-seed0"),
        (
            Variant(augment="on", unfreeze=100, seed=4),
            "aug-unfreeze100-lr0.001",
            "EfficientNetB0-aug-unfreeze100-lr0.001-seed4",
        ),
        (
            Variant(backbone="MobileNetV2-0.35", unfreeze="all", learning_rate=1e-5),
            "plain-unfreezeall-lr1e-05",
            "MobileNetV2-0.35-plain-unfreezeall-lr1e-05-seed0",
        ),
    ],
)
def test_the_name_of_a_variant_is_stable(variant: Variant, name: str, full: str) -> None:
    assert (variant.name(), variant.name(["backbone", "seed"])) == (name, full)


def test_nothing_unfrozen_runs_the_head_epochs_only() -> None:
    assert Variant(head="adam").epochs == 5
    assert Variant(head="adam", unfreeze=10, head_epochs=3, fine_tune_epochs=4).epochs == 7
    assert Variant(head="adam", unfreeze="all").epochs == 13
    assert [Variant(unfreeze=depth, fine_tune_epochs=4).epochs for depth in (0, 10)] == [
        1,
        5,
    ]  # a solved head is one


def numbers(variant: Variant, epochs: int) -> list[list[int | None]]:
    return [[view and view.number for view in variant.views(epoch)] for epoch in range(epochs)]


def test_views_by_epoch() -> None:
    adam = Variant(head="adam", augment="article")
    assert [Variant(augment="off", augment_views=2).views(epoch) for epoch in range(2)] == [(None,)] * 2
    assert numbers(adam, 4) == [[0], [1], [2], [3]]
    assert numbers(dataclasses.replace(adam, augment_views=2), 4) == [[0], [1], [0], [1]]


def test_a_head_is_solved_on_several_views_that_fine_tuning_uses_again() -> None:
    ours = Variant(augment="on", head_epochs=3)
    assert numbers(ours, 6) == [[None, 0, 1, 2], [0], [1], [2], [0], [1]]
    assert numbers(dataclasses.replace(ours, augment_views=4), 6) == [[None, 0, 1, 2], [0], [1], [2], [3], [0]]
    assert numbers(dataclasses.replace(ours, augment_views=2), 4) == [[None, 0, 1], [0], [1], [0]]
    assert {view.policy for view in ours.views(0) if view} == {"light"}


def test_the_article_s_preset_fixes_its_recipe() -> None:
    made = list(plan.variants(TuneConfig(preset="article")).values())
    assert [(one.augment, one.unfreeze) for one in made] == [
        ("off", 0), ("article", 0), ("article", 10), ("off", 100)
    ]  # fmt: skip
    for one in made:
        assert {name: getattr(one, name) for name in ARTICLE_RECIPE} == ARTICLE_RECIPE


def test_no_variant_is_planned_twice() -> None:
    """A solved head on frozen layers takes no steps: learning rates and optimizers change nothing there."""
    config = TuneConfig(
        learning_rate=(1e-3, 1e-4), optimizer=("adamw", "adam"), augment=("off",), unfreeze=(0, 10)
    )
    names = [*plan.variants(config)]
    assert names[0] == "plain-unfreeze0-lr0.001-adamw"
    assert names[1:] == [  # those that share a compiled step side by side
        f"plain-unfreeze10-lr{rate}-{optimizer}" for optimizer in ("adamw", "adam") for rate in ("0.001", "0.0001")
    ]
    by_steps = [*plan.variants(config.replace(head=("adam",)))]
    assert [name for name in by_steps if "unfreeze0" in name] == [
        "plain-unfreeze0-lr0.001-adamw",
        "plain-unfreeze0-lr0.0001-adamw",
    ]
    seeds = plan.variants(config.replace(seed=(0, 1), unfreeze=(0,)))
    assert [variant.seed for variant in seeds.values()] == [0, 1]  # replicates stay, equal or not


def test_a_time_limit_in_seconds() -> None:
    assert [TuneConfig(time_limit=text).seconds_allowed for text in ("90s", "30m", "1h30m")] == [90, 1800, 5400]
    assert TuneConfig().seconds_allowed == float("inf")


def test_fine_tuning_is_longer_by_default_than_the_article_s() -> None:
    for given, ours, article in ((None, 8, 5), (2, 2, 2)):
        config = TuneConfig(fine_tune_epochs=given)
        assert {one.fine_tune_epochs for one in plan.variants(config).values()} == {ours}
        assert {one.fine_tune_epochs for one in plan.variants(config.replace(preset="article")).values()} == {
            article
        }
