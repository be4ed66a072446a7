"""Pictures that move: a run's curve, drawn while it trains, and figures that answer a slider in milliseconds."""

import io
import time
from collections.abc import Callable, Sequence

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import DisplayHandle, display
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from eureka_lib import progress
from eureka_lib.attention.registry import colour_of
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.plots.style import PLOT_WIDTH, derived_line
from eureka_lib.tasks.two_step import TwoStepTask

DPI = 110
SHARP = 2  # pixels of a picture for one of the page: displays are dense
REPLAY, FRAMES = 10.0, 50  # a stored run's curve: seconds, pictures


class LiveCurve:
    """Test accuracy of one run, drawn while it trains; give it as ``on_evaluation``.

    A stored run, whose history comes whole, grows again in ``REPLAY`` seconds, and a line says so.
    In a headless run the picture is drawn once, at the end: a film that nobody watches costs time.
    """

    def __init__(self, experiment: Experiment, task: TwoStepTask):
        self.steps, model = experiment.training.steps, experiment.config()["model"]
        self.bar = progress.Progress("training", self.steps)
        self.handle: DisplayHandle | None = None
        self.figure, self.axis = plt.subplots(figsize=(PLOT_WIDTH, 3))
        derived_line(self.axis, task.plateau_accuracy, "plateau")
        self.axis.set(xlim=(0, self.steps), ylim=(0, 1.02), xlabel="training step", ylabel="test accuracy")
        (self.line,) = self.axis.plot([], [], color=colour_of(model.get("attention", model["name"])), lw=2)

    def __enter__(self) -> "LiveCurve":
        self.bar.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.bar.__exit__(*error)
        if progress.headless():
            display(self.figure)
        plt.close(self.figure)  # it has been shown

    def __call__(self, history: pd.DataFrame) -> None:
        """Draw the history so far."""
        if len(history) > 1 and self.handle is None and not progress.headless():
            print(f"What is stored of this run grows again, in {REPLAY:g} seconds.")
            for length in np.unique(np.linspace(1, len(history), FRAMES, dtype=int)):
                self._draw(history.iloc[:length])
                time.sleep(REPLAY / FRAMES)
        self._draw(history)

    def _draw(self, history: pd.DataFrame) -> None:
        last = history.iloc[-1]
        self.bar.update(int(last["step"]), f"test accuracy {last['test_accuracy']:.2f}")
        self.line.set_data(history["step"], history["test_accuracy"])
        if progress.headless():
            return
        if self.handle is None:
            self.handle = display(self.figure, display_id=True)
        else:
            self.handle.update(self.figure)


class Screen:
    """A figure of which only ``moving`` artists change, painted in milliseconds: axes and labels are painted once."""

    def __init__(self, figure: Figure, moving: Sequence[Artist]):
        self.figure, self.moving = figure, moving
        for artist in moving:
            artist.set_animated(True)  # not painted with the rest
        figure.set_dpi(SHARP * DPI)
        self.canvas = FigureCanvasAgg(figure)
        self.canvas.draw()
        self.still = self.canvas.copy_from_bbox(figure.bbox)

    def frame(self) -> bytes:
        """The figure as it is now, as a PNG."""
        self.canvas.restore_region(self.still)
        for artist in self.moving:
            artist.axes.draw_artist(artist)
        data = io.BytesIO()
        Image.fromarray(np.asarray(self.canvas.buffer_rgba())[..., :3]).save(data, "PNG", compress_level=1)
        return data.getvalue()


def knobs_above(
    figure: Figure, moving: Sequence[Artist], knobs: Sequence[ipywidgets.ValueWidget], show: Callable[..., None]
) -> ipywidgets.VBox:
    """``knobs`` above the ``figure``; ``show``, called with their values, turns its ``moving`` artists to them."""
    show(*(knob.value for knob in knobs))
    screen = Screen(figure, moving)
    width = f"{DPI * figure.get_size_inches()[0]:.0f}px"
    picture = ipywidgets.Image(value=screen.frame(), format="png", layout={"width": width})

    def redraw(_) -> None:
        show(*(knob.value for knob in knobs))
        picture.value = screen.frame()

    for knob in knobs:
        knob.observe(redraw, names="value")
    return ipywidgets.VBox([*knobs, picture])
