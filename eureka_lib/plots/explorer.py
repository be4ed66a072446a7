"""Two pictures to play with: one attention head under three knobs, and a stored run scrubbed along its training.

A knob that answers late is no fun, and matplotlib takes its time over axes and labels. So a :class:`Screen` paints
these once and then only what moves: a frame takes some milliseconds. Without a person who looks on (papermill, nbval,
CI) there are no widgets; the same views are drawn as panels at a few settings instead.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from eureka_lib.attention.registry import colour_of
from eureka_lib.plots.gradient_figures import MATRIX_STYLE, TOKENS, attention_maps, telling_steps
from eureka_lib.plots.jacobian_figure import Head, gradients_of, logits_of, random_head
from eureka_lib.plots.logit_figures import softmax_jacobian, spread
from eureka_lib.plots.probe_figures import COLOURS, Job, Subject, answers, probe
from eureka_lib.plots.style import DERIVED, PLOT_WIDTH, derived_line
from eureka_lib.progress import Progress, headless
from eureka_lib.tasks.two_step import TwoStepTask
from eureka_lib.validation import check_real, check_whole

TEMPERATURES = np.logspace(-2, 2, 25)  # in multiples of the usual one
MOST_KEYS = 64
ROWS = 256  # of attention, over which a typical one is found: few enough for a knob to answer at once
LOWEST = 1e-5  # where the axis of the gradients ends
DPI = 110
MOST_MAPS = 12  # with more heads than this, the maps are averages over the heads of a layer


class Screen:
    """A figure of which only ``moving`` artists change, painted in milliseconds."""

    def __init__(self, figure: Figure, moving: Sequence[Artist]):
        self.figure, self.moving = figure, moving
        for artist in moving:
            artist.set_animated(True)  # not painted with the rest
        figure.set_dpi(DPI)
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


# ---- one head


@dataclass(frozen=True)
class Setting:
    """Where the three knobs stand: the temperature in multiples of the usual one, how alike the keys are, their number.

    ``similarity`` is the expected cosine between two keys. Raises ValueError for what is out of range.
    """

    temperature: float = 1.0
    similarity: float = 0.0
    keys: int = 8

    def __post_init__(self):
        check_real("temperature", self.temperature, float(TEMPERATURES[0]), float(TEMPERATURES[-1]))
        check_real("similarity", self.similarity, 0, 1)
        if check_whole("keys", self.keys, 2) > MOST_KEYS:
            raise ValueError(f"keys must be at most {MOST_KEYS}, got {self.keys}")

    @property
    def words(self) -> str:
        """The setting as a title."""
        return f"temperature {self.temperature:.3g}, similarity {self.similarity:.3g}, {self.keys} keys"


def head_of(setting: Setting, seed: int = 0) -> Head:
    """A random head at a setting; what its values are made of is independent of its keys.

    At similarity rho queries and keys read sqrt(rho) c + sqrt(1 - rho) x_j of token j, c common to a sample's tokens.
    """
    samples = ROWS // setting.keys
    head = random_head(setting.keys, seed, samples=samples)
    contents = random_head(setting.keys, seed + 1, samples=samples).tokens
    common = head.tokens[:, :1].roll(1, dims=0)  # the first token of another sample: as random as any
    rho = setting.similarity
    tokens = rho**0.5 * common + (1 - rho) ** 0.5 * head.tokens
    return replace(head, tokens=tokens, contents=contents, temperature=setting.temperature)


def against_temperature(head: Head) -> pd.DataFrame:
    """:func:`gradients_of` the head at each of ``TEMPERATURES``, and its limit.

    Columns W_Q, W_K, W_V, temperature; "even" is what W_Q gets from even attention, whose Jacobian no longer changes:
    it falls as 1 over the temperature.
    """
    sizes = torch.stack([gradients_of(replace(head, temperature=float(tau))) for tau in TEMPERATURES])
    table = pd.DataFrame(sizes.numpy(), columns=list(MATRIX_STYLE)).assign(temperature=TEMPERATURES)
    hot = 1e6
    return table.assign(even=float(gradients_of(replace(head, temperature=hot))[0]) * hot / TEMPERATURES)


def example_row(head: Head) -> Tensor:
    """Weights (N,) of the row whose spread of logits is the median one."""
    rows = logits_of(head).flatten(0, 1)
    sizes = spread(rows)
    return torch.softmax(rows[(sizes - sizes.median()).abs().argmin()], -1)


class HeadView:
    """Three panels of one head: the weights of a row, their Jacobian, and the gradients that reach the matrices."""

    def __init__(self, axes: Sequence[Axes]):
        weights, jacobian, gradients = axes
        self.bars = weights.stairs([0], [0, 1], fill=True, color=colour_of("softmax"))
        weights.set(xlim=(0, 1), ylim=(0, 1.03), xticks=[], xlabel="key", ylabel="weight $p$")
        self.image = jacobian.imshow([[0]], cmap="PuOr", vmin=-0.25, vmax=0.25, extent=(0, 1, 1, 0), origin="upper")
        jacobian.set(xticks=[], yticks=[], xlabel="key", ylabel="key")
        jacobian.spines[:].set_visible(True)
        self.size = jacobian.set_title("Jacobian, size 0.000")
        (self.even,) = gradients.plot([], [], color=DERIVED, ls="--", lw=1, label="even attention: 1/temperature")
        self.lines = {name: gradients.plot([], [], color=colour, ls=line, label=f"${name}$")[0]
                      for name, (colour, line) in MATRIX_STYLE.items()}  # fmt: skip
        self.dots = {name: gradients.plot([], [], "o", color=colour, ms=9 - 2 * i, zorder=5)[0]
                     for i, (name, (colour, _)) in enumerate(MATRIX_STYLE.items())}  # fmt: skip
        gradients.set(xscale="log", yscale="log", xlim=(TEMPERATURES[0], TEMPERATURES[-1]), ylim=(LOWEST, 10),
                      xlabel="temperature / usual", ylabel="gradient", title="from a typical row")  # fmt: skip
        self.axes = axes

    @property
    def moving(self) -> list[Artist]:
        """What changes with the setting."""
        return [self.bars, self.image, self.size, self.even, *self.lines.values(), *self.dots.values()]

    def show(self, setting: Setting) -> pd.DataFrame:
        """Turn the artists to a setting; returns the table of gradients."""
        head = head_of(setting)
        weights, table, now = example_row(head), against_temperature(head), gradients_of(head).tolist()
        jacobian = softmax_jacobian(weights)
        self.bars.set_data(weights.numpy(), np.linspace(0, 1, setting.keys + 1))
        self.image.set_data(jacobian.numpy())
        self.size.set_text(f"Jacobian, size {float(jacobian.norm()) / setting.keys**0.5:.2g}")
        self.even.set_data(table["temperature"], table["even"])
        for name, size in zip(MATRIX_STYLE, now, strict=True):
            self.lines[name].set_data(table["temperature"], table[name])
            self.dots[name].set_data([setting.temperature], [size])
        return table.assign(similarity=setting.similarity, keys=setting.keys)


def plot_head(settings: Sequence[Setting]) -> tuple[Figure, pd.DataFrame]:
    """The three panels at each of ``settings``, one row each, and the gradients that are drawn."""
    figure, axes = plt.subplots(len(settings), 3, figsize=(PLOT_WIDTH, 1.95 * len(settings) + 0.4), squeeze=False)
    tables = []
    for row, setting in zip(axes, settings, strict=True):
        view = HeadView(row)
        tables.append(view.show(setting).assign(shown=setting.words))
        row[0].set_title(setting.words.replace(", sim", ",\nsim"), fontsize=8)
    for axis in axes[:-1].flat:
        axis.set_xlabel("")
    figure.legend(*axes[0, 2].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure, pd.concat(tables, ignore_index=True)


def head_knobs() -> ipywidgets.VBox | None:
    """The three panels with a slider for each knob; None, and no widget at all, in a run that nobody watches."""
    if headless():
        print("Three sliders stand here if somebody looks on.")
        return None
    figure = Figure(figsize=(PLOT_WIDTH, 2.6), layout="constrained")
    view = HeadView(figure.subplots(1, 3))
    view.show(Setting())
    figure.legend(*view.axes[2].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    screen = Screen(figure, view.moving)
    style = {"style": {"description_width": "7em"}, "layout": {"width": "30em"}}
    knobs = {
        "temperature": ipywidgets.FloatLogSlider(1.0, min=-2, max=2, step=0.05, description="temperature", **style),
        "similarity": ipywidgets.FloatSlider(0.0, min=0, max=1, step=0.02, description="key similarity", **style),
        "keys": ipywidgets.IntSlider(8, min=2, max=MOST_KEYS, description="tokens", **style),
    }
    picture = ipywidgets.Image(value=screen.frame(), format="png")

    def redraw(_) -> None:
        temperature = float(np.clip(knobs["temperature"].value, TEMPERATURES[0], TEMPERATURES[-1]))
        view.show(Setting(temperature, knobs["similarity"].value, knobs["keys"].value))
        picture.value = screen.frame()

    for knob in knobs.values():
        knob.observe(redraw, names="value")
    return ipywidgets.VBox([*knobs.values(), picture])


# ---- a stored run

PROBED = {  # what the film shows of the probes, at the output of the last block: asked, tokens, colour, line
    "indicators, all tokens": ("indicators", "all tokens", COLOURS["indicators"], "-"),
    "which target, all tokens": ("which target", "all tokens", COLOURS["which target"], "-"),
    "which target, CLS": ("which target", "CLS", COLOURS["which target"], "--"),
}


@dataclass(frozen=True)
class Film:
    """A run that kept its weights, looked at once at every kept step, so that scrubbing only has to draw."""

    subject: Subject
    steps: list[int]
    maps: Tensor  # (steps, maps, 5, 5): attention among CLS and the four cells
    names: list[str]  # of the maps
    probes: pd.DataFrame  # a row per step: step, and an accuracy for each of PROBED
    plateau: float  # derived: the accuracy of guessing between the two targets
    losses: dict[str, float]  # derived: the training loss on the plateau and when solved

    @property
    def history(self) -> pd.DataFrame:
        """The run's evaluations."""
        return self.subject.run.history

    def table(self) -> pd.DataFrame:
        """Everything that can be shown, as numbers: a row per kept step."""
        at = self.history.set_index("step").reindex(self.steps, method="nearest")
        shown = self.probes.assign(train_loss=at["train_loss"].values, test_accuracy=at["test_accuracy"].values)
        for i, name in enumerate(self.names):
            for j, token in enumerate(TOKENS):
                shown[f"{name}, CLS to {token}"] = self.maps[:, i, 0, j].numpy()
        return shown


def develop(subject: Subject, task: TwoStepTask, images: Tensor, samples: int) -> Film:
    """Look at every kept step of a run: attention maps over ``images``, and probes with ``samples`` to learn from."""
    steps = subject.run.weight_steps
    with Progress("attention maps", len(steps), lines=1) as progress:
        maps = []
        for done, step in enumerate(steps, start=1):
            maps.append(attention_maps(subject.experiment, subject.run, step, task, images))
            progress.update(done)
    found = torch.stack(maps)  # (S, L, H, 5, 5)
    layers, heads = found.shape[1:3]
    names = [f"layer {layer + 1}\nhead {head + 1}" for layer in range(layers) for head in range(heads)]
    if layers * heads > MOST_MAPS:
        found, names = found.mean(dim=2, keepdim=True), [f"layer {layer + 1}" for layer in range(layers)]
    probed = answers(probe([Job(subject, step, ("claims",)) for step in steps], samples), "claims")
    at = probed.set_index(["asked", "tokens", "step"])["accuracy"].sort_index()
    probes = pd.DataFrame({"step": steps} | {name: at[asked, tokens].loc[steps].values
                                             for name, (asked, tokens, _, _) in PROBED.items()})  # fmt: skip
    smoothing = subject.experiment.training.label_smoothing
    losses = {"plateau": task.plateau_loss(smoothing), "floor": task.floor_loss(smoothing)}
    return Film(subject, steps, found.flatten(1, 2), names, probes, task.plateau_accuracy, losses)


class MapStrip:
    """The attention maps of one step in a row of axes; the row of CLS is framed."""

    def __init__(self, axes: Sequence[Axes], names: Sequence[str]):
        self.images = []
        for axis, name in zip(axes, names, strict=True):
            self.images.append(axis.imshow(np.zeros((5, 5)), cmap="Greys", vmin=0, vmax=1))
            axis.set_title(name, fontsize=8, loc="center")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set(visible=True, linewidth=0.5)
        axes[0].set_yticks(range(5), TOKENS, fontsize=6)
        axes[0].tick_params(length=0, pad=1)

    def show(self, maps: Tensor) -> None:
        """Put maps (maps, 5, 5) into the axes."""
        for image, weights in zip(self.images, maps.numpy(), strict=True):
            image.set_data(weights)


def plot_curves(axes: Sequence[Axes], film: Film) -> None:
    """The loss (left); and the test accuracy with the probes' (right), against the training step."""
    loss, accuracy = axes
    history = film.history
    loss.plot(history["step"], history["train_loss"], color=colour_of("softmax"), lw=1.5)
    for name, value in film.losses.items():
        derived_line(loss, value, name, decimals=3)
    loss.set(xlabel="training step", ylabel="training loss (nats)")
    accuracy.plot(history["step"], history["test_accuracy"], color="black", lw=1.8, label="network")
    for name, (_, _, colour, line) in PROBED.items():
        accuracy.plot(film.steps, film.probes[name], color=colour, ls=line, lw=1.4, label=name)
    derived_line(accuracy, film.plateau, "plateau")
    accuracy.set(xlabel="training step", ylabel="test accuracy", ylim=(0, 1.03))


def _layout(figure: Figure, film: Film, strips: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Axes of the curves above, and of ``strips`` rows of maps below."""
    above, below = figure.subfigures(2, 1, height_ratios=(2.6, 1.25 * strips))
    curves = above.subplots(1, 2)
    rows = below.subplots(strips, len(film.names), squeeze=False)
    return curves, list(rows)


def plot_film(film: Film) -> tuple[Figure, dict[str, int]]:
    """The curves, and the maps of four :func:`telling_steps`, which are marked in the curves; returns these, too."""
    moments = telling_steps(film.subject.run)
    figure = plt.figure(figsize=(PLOT_WIDTH, 2.6 + 1.25 * len(moments)))
    curves, rows = _layout(figure, film, len(moments))
    plot_curves(curves, film)
    for letter, (name, step), axes in zip("abcd", moments.items(), rows, strict=True):
        strip = MapStrip(axes, film.names if letter == "a" else [""] * len(film.names))
        strip.show(film.maps[film.steps.index(step)])
        axes[0].set_ylabel(f"{letter}: {name}\nstep {step}", fontsize=8)
        for axis in curves:
            axis.axvline(step, color=DERIVED, lw=0.8, zorder=0)
            axis.annotate(
                letter, (step, 1), (0, 2), ("data", "axes fraction"), "offset points", ha="center", fontsize=8
            )
    curves[0].figure.legend(*curves[1].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    return figure, moments


class FilmView:
    """The curves with a cursor, and the maps of one step below."""

    def __init__(self, figure: Figure, film: Film):
        self.film = film
        curves, (row,) = _layout(figure, film, 1)
        plot_curves(curves, film)
        curves[0].figure.legend(*curves[1].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
        self.cursors = [axis.axvline(0, color="#D55E00", lw=1.5) for axis in curves]
        self.title = curves[0].set_title("step 0")
        self.words = curves[1].set_title("accuracy")
        self.strip = MapStrip(row, film.names)

    @property
    def moving(self) -> list[Artist]:
        """What changes with the step."""
        return [*self.cursors, self.title, self.words, *self.strip.images]

    def show(self, frame: int) -> None:
        """Turn the artists to the kept step of that number, from 0."""
        step = self.film.steps[frame]
        at = self.film.history.iloc[(self.film.history["step"] - step).abs().argmin()]
        for cursor in self.cursors:
            cursor.set_xdata([step, step])
        self.title.set_text(f"step {step}: loss {at['train_loss']:.2f}")
        self.words.set_text(f"accuracy {at['test_accuracy']:.2f}")
        self.strip.show(self.film.maps[frame])


def film_knob(film: Film) -> ipywidgets.VBox | None:
    """A run to scrub: a slider over its kept steps, and a button that plays it; None in a run that nobody watches."""
    if headless():
        print("A slider over the training stands here if somebody looks on.")
        return None
    figure = Figure(figsize=(PLOT_WIDTH, 4.2), layout="constrained")
    view = FilmView(figure, film)
    view.show(0)
    screen, last = Screen(figure, view.moving), len(film.steps) - 1
    play = ipywidgets.Play(min=0, max=last, interval=100)
    knob = ipywidgets.IntSlider(0, min=0, max=last, description="kept step", readout=False, layout={"width": "30em"})
    picture = ipywidgets.Image(value=screen.frame(), format="png")

    def redraw(change: dict) -> None:
        view.show(change["new"])
        picture.value = screen.frame()

    ipywidgets.jslink((play, "value"), (knob, "value"))
    knob.observe(redraw, names="value")
    return ipywidgets.VBox([ipywidgets.HBox([play, knob]), picture])
