"""A stored run to scrub along its training."""

from collections.abc import Sequence

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from eureka_lib.analysis.probes import READ
from eureka_lib.attention.registry import colour_of
from eureka_lib.measure.film import PROBED, Film
from eureka_lib.measure.subjects import telling_steps
from eureka_lib.plots.live import knobs_above
from eureka_lib.plots.maps import draw_look
from eureka_lib.plots.probes import COLOURS
from eureka_lib.plots.style import DERIVED, PLOT_WIDTH, WAITS, derived_line
from eureka_lib.progress import headless

SPEEDS = {"slow": 500, "usual": 150, "fast": 50}  # milliseconds a frame


def draw_strip(axes: Sequence[Axes], film: Film, frame: int, titles: bool) -> list[AxesImage]:
    """Where the film's heads look at one of its steps, in a row of axes."""
    looks, places = film.looks
    images = [draw_look(*look) for look in zip(axes, looks[frame].numpy(), places, strict=True)]
    for axis, name in zip(axes[:: len(axes) // len(film.names)], film.names if titles else (), strict=False):
        axis.set_title(name, fontsize=8)
    return images


def plot_curves(axes: Sequence[Axes], film: Film) -> None:
    """The loss (left); and the test accuracy with the probes' (right), against the training step."""
    loss, accuracy = axes
    history = film.history
    loss.plot(history["step"], history["train_loss"], color=colour_of("softmax"), lw=1.5)
    for name, value in film.losses.items():
        derived_line(loss, value, name, decimals=3)
    loss.set(xlabel="training step", ylabel="training loss (nats)")
    accuracy.plot(history["step"], history["test_accuracy"], color="black", lw=1.8, label="network")
    for name, (asked, tokens) in PROBED.items():
        accuracy.plot(film.steps, film.probes[name], color=COLOURS[asked], ls="--" if tokens == READ else "-", lw=1.4,
                      label=name)  # fmt: skip
    derived_line(accuracy, film.plateau, "plateau")
    accuracy.set(xlabel="training step", ylabel="test accuracy", ylim=(0, 1.03))
    handles = accuracy.get_legend_handles_labels()
    accuracy.figure.legend(*handles, loc="outside lower center", ncols=2, fontsize=8)


def _strip(film: Film) -> float:
    """Inches that a row of the film's pictures is high."""
    return 0.25 + min(0.7, (PLOT_WIDTH - 1) / len(film.looks[1]))


def _layout(figure: Figure, film: Film, strips: int) -> tuple[np.ndarray, np.ndarray]:
    """Axes of the curves above, which are drawn, and of ``strips`` rows of maps below."""
    above, below = figure.subfigures(2, 1, height_ratios=(2.6, _strip(film) * strips))
    curves = above.subplots(1, 2)
    plot_curves(curves, film)
    return curves, below.subplots(strips, len(film.looks[1]), squeeze=False)


def plot_film(film: Film) -> tuple[Figure, dict[str, int]]:
    """The curves, and the maps of four :func:`telling_steps`, which are marked in the curves; returns these, too."""
    moments = telling_steps(film.subject.run)
    figure = plt.figure(figsize=(PLOT_WIDTH, 2.6 + _strip(film) * len(moments)))
    curves, rows = _layout(figure, film, len(moments))
    for letter, (name, step), axes in zip("abcd", moments.items(), rows, strict=True):
        draw_strip(axes, film, film.steps.index(step), titles=letter == "a")
        axes[0].set_ylabel(f"{letter}: {name}\nstep {step:,}", fontsize=8, rotation=0, ha="right", va="center")
        for axis in curves:
            axis.axvline(step, color=DERIVED, lw=0.8, zorder=0)
            axis.annotate(letter, (step, 1), (0, 2), ("data", "axes fraction"), "offset points", ha="center",
                          fontsize=8)  # fmt: skip
    return figure, moments


class FilmView:
    """The curves with a cursor, and the maps of one step below."""

    def __init__(self, figure: Figure, film: Film):
        self.film = film
        curves, (row,) = _layout(figure, film, 1)
        self.cursors = [axis.axvline(0, color=WAITS, lw=1.5) for axis in curves]
        self.title = curves[0].set_title("step 0")
        self.words = curves[1].set_title("accuracy")
        self.images = draw_strip(row, film, 0, titles=True)

    @property
    def moving(self) -> list[Artist]:
        """What changes with the step."""
        return [*self.cursors, self.title, self.words, *self.images]

    def show(self, frame: int) -> None:
        """Turn the artists to the kept step of that number, from 0."""
        step = self.film.steps[frame]
        at = self.film.history.iloc[(self.film.history["step"] - step).abs().argmin()]
        for cursor in self.cursors:
            cursor.set_xdata([step, step])
        loss = at["train_loss"]  # there is none before the first step
        self.title.set_text(f"step {step}" if np.isnan(loss) else f"step {step}: loss {loss:.2f}")
        self.words.set_text(f"accuracy {at['test_accuracy']:.2f}")
        for image, weights in zip(self.images, self.film.looks[0][frame].numpy(), strict=True):
            image.set_data(weights)


def film_knob(film: Film) -> ipywidgets.VBox | None:
    """A run to scrub: a slider over its kept steps, and buttons that play it; None in a run that nobody watches."""
    if headless():
        print("A slider over the training stands here if somebody looks on.")
        return None
    figure = Figure(figsize=(PLOT_WIDTH, 4.2), layout="constrained")
    view, last = FilmView(figure, film), len(film.steps) - 1
    play = ipywidgets.Play(min=0, max=last)
    speed = ipywidgets.ToggleButtons(options=SPEEDS, value=SPEEDS["usual"], description="speed")
    speed.style.button_width = "5em"
    ipywidgets.link((speed, "value"), (play, "interval"))
    knob = ipywidgets.IntSlider(0, min=0, max=last, description="kept step", readout=False, layout={"width": "30em"})
    ipywidgets.jslink((play, "value"), (knob, "value"))
    shown = knobs_above(figure, view.moving, [knob], view.show).children
    return ipywidgets.VBox([ipywidgets.HBox([play, speed]), *shown])
