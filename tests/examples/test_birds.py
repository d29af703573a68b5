"""The notebook of examples/birds.py, made as `make notebook` makes it and run from its first cell to its last."""

from pathlib import Path
from typing import Any

import jupytext
import pytest
from nbclient import NotebookClient

from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = jupytext.read(REPOSITORY / "examples/birds.py")
    folder = tmp_path_factory.mktemp("notebook")
    NotebookClient(made, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    made.metadata["ran in"] = str(folder)
    return made


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_the_example_draws_and_tells(notebook: Any) -> None:
    told = outputs(notebook)
    drawn = [one for one in told if "image/png" in one.get("data", {})]
    assert len(drawn) == 5  # classes, views, curves, comparison, photos
    shown = [one for one in told if "<table" in str(one.get("data", {}).get("text/html"))]
    assert len(shown) == 2  # the sweep and the least certain rows
    assert "plain-unfreeze10-lr0.005" in shown[0].data["text/html"]
    text = "".join(one.get("text", "") for one in told)
    assert "accuracy 0." in text and "valid images" in text
    assert not any(one.output_type == "error" for one in told)


def test_the_example_leaves_a_sweep_and_predictions(notebook: Any) -> None:
    results = Path(notebook.metadata["ran in"], "results/example")
    assert (results / "predictions/_SUCCESS").exists()
    (report,) = results.glob("*/report.html")
    assert (report.parent / "best/model.keras").exists()
