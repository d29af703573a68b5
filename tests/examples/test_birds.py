"""The notebook of examples/birds.py, made as `make notebook` makes it and run from its first cell to its last."""

from pathlib import Path
from typing import Any

import jupytext
import pytest
from nbclient import NotebookClient

import ray_birds
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    made = jupytext.read(REPOSITORY / "examples/birds.py")
    folder = tmp_path_factory.mktemp("notebook")
    NotebookClient(made, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    jupytext.write(made, folder / "birds.ipynb")  # to look at where a test fails
    return made, folder


def test_the_example_draws_and_tells(ran: tuple[Any, Path]) -> None:
    notebook, folder = ran
    told = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    drawn = [one for one in told if "image/png" in one.get("data", {})]
    assert len(drawn) == 5  # classes, views, curves, comparison, photos
    shown = [one for one in told if "<table" in str(one.get("data", {}).get("text/html"))]
    assert len(shown) == 2  # the sweep and the least certain rows
    assert "plain-unfreeze10-lr0.001" in shown[0].data["text/html"]
    (report,) = folder.glob("results/example/*/report.html")
    sweep = ray_birds.read_sweep(report.parent)
    text = "".join(one.get("text", "") for one in told)
    assert sweep.significance is not None and sweep.significance.text in text and str(report) in text
    assert not any(one.output_type == "error" for one in told)


def test_the_example_leaves_a_model_and_predictions(ran: tuple[Any, Path]) -> None:
    results = ran[1] / "results/example"
    assert (results / "predictions/_SUCCESS").exists()
    assert len(list(results.glob("*/best/model.keras"))) == 1
