"""A plugin of pytest's, by pyproject.toml: every session is at profile smoke, headless, in folders of its own."""

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path

from eureka_lib.run_all.surroundings import secluded

if "PYTEST_XDIST_WORKER" not in os.environ:  # workers share the folders of the process that started them
    products = tempfile.mkdtemp(prefix="eureka-tests-")
    atexit.register(shutil.rmtree, products, ignore_errors=True)
    own = secluded(os.environ, Path(products))  # whatever the tester's own settings say
    os.environ.clear()
    os.environ.update(
        own,
        EUREKA_PROFILE="smoke",
        EUREKA_HEADLESS="1",
        EUREKA_STORE=f"{products}/runs",
        EUREKA_FIGURES=f"{products}/figures",
        EUREKA_DATA=f"{products}/data",
        MPLBACKEND="agg",
        OMP_NUM_THREADS="1",  # each worker has a core; notebooks set their own threads for what they train
    )


def pytest_runtest_teardown(item, nextitem):
    """After the last cell of a numbered notebook: its figures are there, each with its provenance."""
    if item.path.suffix == ".ipynb" and item.path.stem[0].isdigit() and (not nextitem or nextitem.path != item.path):
        check_figures(item.path.stem)


def check_figures(notebook: str) -> None:
    """A notebook that was executed has left pictures, which say where they are from."""
    from eureka_lib import paths

    pictures = list(paths.figures_dir("smoke").glob(f"{notebook.split('_')[0]}_*.png"))
    assert pictures, f"{notebook} has left no picture"
    for picture in pictures:
        facts = json.loads(picture.with_suffix(".json").read_text())
        assert (facts["notebook"], facts["profile"]) == (notebook, "smoke"), picture.name
