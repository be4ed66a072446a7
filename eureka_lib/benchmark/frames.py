"""How fast the explorer's pictures follow a knob, against ten frames a second."""

import tempfile
from collections.abc import Callable, Iterator, Sequence

import torch
from matplotlib.figure import Figure

from eureka_lib.benchmark.measure import Row, Setting, measure_against
from eureka_lib.experiments import profiles
from eureka_lib.experiments.run import run
from eureka_lib.plots import explorer
from eureka_lib.plots.probe_figures import Subject
from eureka_lib.store import RunStore

FRAME_SECONDS = 0.1
FRAMES = 10  # in a measurement


def frame_rows(setting: Setting) -> Iterator[Row]:
    """A frame of the attention head under its knobs, and one of a scrubbed run, against a tenth of a second."""
    head_figure = Figure(figsize=(7, 2.6), layout="constrained")
    head = explorer.HeadView(head_figure.subplots(1, 3))
    head.show(explorer.Setting())
    settings = [explorer.Setting(keys=40 + i) for i in range(FRAMES)]
    yield _row(
        setting, "frame of a head, 40 to 49 keys", head.show, explorer.Screen(head_figure, head.moving), settings
    )
    film_figure = Figure(figsize=(7, 4.2), layout="constrained")
    view = explorer.FilmView(film_figure, _film())
    steps = [i % len(view.film.steps) for i in range(FRAMES)]
    yield _row(setting, "frame of a run", view.show, explorer.Screen(film_figure, view.moving), steps)


def _film() -> explorer.Film:
    smoke = profiles.get("smoke")
    task = smoke.anatomy.build_task()
    with tempfile.TemporaryDirectory() as folder:
        found = run(smoke.anatomy, RunStore(folder), weights_every=smoke.weights_every)
        images = task.sample(torch.Generator().manual_seed(0), 16).images
        return explorer.develop(Subject(smoke.anatomy, found), task, images, samples=100)


def _row(
    setting: Setting, name: str, show: Callable[[object], None], screen: explorer.Screen, frames: Sequence[object]
) -> Row:
    def draw() -> None:
        for frame in frames:
            show(frame)
            screen.frame()

    ratio = measure_against(FRAME_SECONDS * len(frames), draw, setting.pairs)
    return Row(name, "a tenth of a second", **ratio, bar=1.0)
