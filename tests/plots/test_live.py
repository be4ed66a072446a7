"""Pictures that move: they show what was computed, fast, and nobody gets widgets who cannot use them."""

import io

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from eureka_lib.experiments import profiles
from eureka_lib.experiments.run import run
from eureka_lib.measure import heads
from eureka_lib.measure.film import PROBED, develop, says
from eureka_lib.measure.heads import TEMPERATURES, Setting, against_temperature, gradients_of, head_of, typical_row
from eureka_lib.measure.maps import names_of
from eureka_lib.measure.subjects import Subject
from eureka_lib.plots import film as films, heads as drawn, live
from eureka_lib.plots.live import Screen
from eureka_lib.store import RunStore

pytestmark = pytest.mark.usefixtures("house_style")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    smoke = profiles.get("smoke")
    experiment, task = smoke.live, smoke.live.build_task()
    found = run(experiment, RunStore(tmp_path_factory.mktemp("runs")), weights_every=smoke.weights_every)
    images = task.sample(torch.Generator().manual_seed(0), 16).images
    return develop(Subject(experiment, found), task, images, samples=100)


@pytest.fixture(scope="module")
def head():
    return heads.random_head(keys=5, seed=0)


def test_settings_show_weights_jacobian_and_gradients(head):
    curve = heads.against_std(head)
    figure = drawn.plot_stds(head, curve, [0.1, 10.0])
    for i, sigma in enumerate((0.1, 10.0)):
        weights, jacobian, sizes = figure.axes[3 * i : 3 * i + 3]
        p = torch.softmax(sigma * heads.typical_row(head), -1)
        assert np.allclose(weights.patches[0].get_data().values, p)
        assert np.allclose(jacobian.get_images()[0].get_array(), torch.diag(p) - torch.outer(p, p))
        dots = [line.get_ydata()[0] for line in sizes.get_lines() if line.get_marker() == "o"]
        assert dots == pytest.approx(heads.gradients_of(heads.with_std(head, sigma)).tolist())


def test_panels_show_what_was_computed():
    settings = [Setting(), Setting(30.0, 0.5, 4)]
    figure, table = drawn.plot_settings(settings)
    assert len(table) == 2 * len(TEMPERATURES) and table["shown"].nunique() == 2
    weights, jacobian, gradients = figure.axes[3:6]
    p = torch.softmax(typical_row(head_of(settings[1])), -1)
    assert np.allclose(weights.patches[0].get_data().values, p)
    assert np.allclose(jacobian.get_images()[0].get_array(), torch.diag(p) - torch.outer(p, p))
    dots = [line.get_ydata()[0] for line in gradients.get_lines() if line.get_marker() == "o"]
    assert dots == pytest.approx(gradients_of(head_of(settings[1])).tolist())


def test_a_film_holds_every_kept_step(film):
    assert film.steps == [0, 10, 20, 30, 40] and film.maps.shape[0] == 5
    assert torch.allclose(film.maps.sum(-1), torch.ones(()), atol=1e-5)
    assert film.probes["step"].tolist() == film.steps and set(film.probes) == {"step", *PROBED}
    table = film.table()
    assert table["test_accuracy"].tolist() == film.history["test_accuracy"].tolist()
    places = names_of(film.maps.shape[-1])
    looks = table[f"layer 1\nhead 1, {places[0]} to {places[1]}"]
    assert looks.tolist() == pytest.approx(film.maps[:, 0, 0, 1].tolist())


def test_printed_film_marks_its_moments(film):
    figure, moments = films.plot_film(film)
    maps = [axis for axis in figure.get_axes() if axis.get_images()]
    looks, places = film.looks
    n = len(places)
    assert len(maps) == 4 * n
    for row, step in enumerate(moments.values()):
        shown = np.stack([axis.get_images()[0].get_array() for axis in maps[n * row : n * row + n]])
        assert np.allclose(shown, looks[film.steps.index(step)])


def test_a_film_says_what_its_probes_read(film):
    last = film.probes.iloc[-1]["indicators, all tokens"]
    assert f"then {last:.2f}" in says(film) and len(says(film)) <= 130


def test_a_film_says_no_loss_where_there_is_none(film):
    view = films.FilmView(Figure(), film)
    assert np.isnan(film.history["train_loss"].iloc[0]) and view.title.get_text() == "step 0"
    view.show(0)
    assert view.title.get_text() == "step 0"
    view.show(len(film.steps) - 1)
    assert view.title.get_text().startswith("step 40: loss ")


def test_a_stored_run_grows_again(film, monkeypatch, capsys):
    monkeypatch.delenv("EUREKA_HEADLESS")
    monkeypatch.setattr(live, "REPLAY", 0.0)
    seen = []
    monkeypatch.setattr(live.LiveCurve, "_draw", lambda self, history: seen.append(len(history)))
    curve = live.LiveCurve(film.subject.experiment, film.subject.experiment.build_task())
    with curve:
        curve(film.history)
    assert seen == [1, 2, 3, 4, 5, 5] and "What is stored of this run grows again" in capsys.readouterr().out


def show(view, setting):
    head = head_of(setting)
    view.show(head, against_temperature(head), setting.temperature)


def head_screen():
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    view = drawn.HeadView(figure.subplots(1, 3), "temperature")
    show(view, Setting())
    return view, Screen(figure, view.moving)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png))).astype(int)


def test_a_screen_paints_what_matplotlib_would():
    view, screen = head_screen()
    show(view, Setting(0.3, 0.5, 16))
    fast = pixels(screen.frame())
    for artist in view.moving:
        artist.set_animated(False)
    screen.canvas.draw()
    slow = np.asarray(screen.canvas.buffer_rgba())[..., :3].astype(int)
    assert fast.shape == slow.shape
    assert (abs(fast - slow).max(axis=-1) > 40).mean() < 0.01, "but for which of two lines lies above"


def test_the_slider_moves_the_picture(head, monkeypatch):
    monkeypatch.delenv("EUREKA_HEADLESS")
    curve = heads.against_std(head)
    knob, picture = drawn.std_knob(head, curve).children
    assert isinstance(knob, ipywidgets.FloatLogSlider) and bytes(picture.value[:4]) == b"\x89PNG"
    before = bytes(picture.value)
    knob.value = 10.0
    assert picture.value != before
    knob.value = 1.0
    assert picture.value == before and not plt.get_fignums()


def test_nobody_gets_knobs_in_a_headless_run(head, film, monkeypatch, capsys):
    monkeypatch.setattr(drawn, "ipywidgets", None)  # building a widget would fail
    monkeypatch.setattr(films, "ipywidgets", None)
    assert drawn.std_knob(head, heads.against_std(head)) is None
    assert drawn.setting_knobs() is None and films.film_knob(film) is None
    assert "sliders" in capsys.readouterr().out


def test_knobs_move_the_pictures(film, monkeypatch):
    monkeypatch.delenv("EUREKA_HEADLESS")
    *knobs, picture = drawn.setting_knobs().children
    seen = {bytes(picture.value)}
    for knob, value in zip(knobs, (10.0, 0.9, 32), strict=True):
        knob.value = value
        assert bytes(picture.value) not in seen
        seen.add(bytes(picture.value))
    knobs[0].value = 100.0  # the slider's end, which is a float and may lie a rounding beyond
    buttons, knob, picture = films.film_knob(film).children
    play, speed = buttons.children
    assert play.interval == films.SPEEDS["usual"]
    speed.value = films.SPEEDS["slow"]
    assert play.interval == 500
    first = bytes(picture.value)
    knob.value = play.max
    assert bytes(picture.value) != first and isinstance(play, ipywidgets.Play)
    knob.value = 0
    assert bytes(picture.value) == first and not plt.get_fignums()
