"""The explorer: its knobs mean what they say, its pictures move fast, and nobody gets widgets who cannot use them."""

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
from eureka_lib.measure.film import PROBED, develop
from eureka_lib.measure.heads import TEMPERATURES, Setting, against_temperature, gradients_of, head_of, typical_row
from eureka_lib.measure.subjects import Subject
from eureka_lib.plots import film as films, heads
from eureka_lib.plots.live import Screen
from eureka_lib.store import RunStore

pytestmark = pytest.mark.usefixtures("house_style")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    smoke = profiles.get("smoke")
    experiment, task = smoke.anatomy, smoke.anatomy.build_task()
    found = run(experiment, RunStore(tmp_path_factory.mktemp("runs")), weights_every=smoke.weights_every)
    images = task.sample(torch.Generator().manual_seed(0), 16).images
    return develop(Subject(experiment, found), task, images, samples=100)


# ---- one head


def test_similarity_is_the_cosine_of_two_keys():
    for similarity in (0.0, 0.5, 0.9):
        head = head_of(Setting(similarity=similarity, keys=8))
        keys = torch.nn.functional.normalize(head.tokens @ head.matrices[1].T, dim=-1)
        cosines = (keys @ keys.transpose(1, 2))[:, *torch.triu_indices(8, 8, 1)]
        assert float(cosines.mean()) == pytest.approx(similarity, abs=0.06)


def test_equal_keys_leave_queries_and_keys_nothing_and_values_everything():
    equal, usual = (gradients_of(head_of(Setting(100.0, similarity=rho))) for rho in (1.0, 0.0))
    assert (equal[:2] < 1e-12).all() and float(equal[2] / usual[2]) == pytest.approx(1, abs=0.02)


def test_under_even_attention_the_gradient_falls_as_one_over_the_temperature():
    table = against_temperature(head_of(Setting()))
    hottest = table.iloc[-1]
    assert hottest["W_Q"] == pytest.approx(hottest["even"], rel=0.02)
    assert (table["even"] * table["temperature"]).std() == pytest.approx(0, abs=1e-12)
    assert table["W_Q"].iloc[0] < 1e-6 * table["even"].iloc[0], "cold attention is stuck"


@pytest.mark.parametrize(("knob", "value", "words"), [
    ("temperature", 0.0, "temperature must be in [0.01, 100.0], got 0.0; the nearest valid value is 0.01"),
    ("similarity", 1.5, "similarity must be in [0, 1], got 1.5"),
    ("keys", 1, "keys must be a whole number >= 2, got 1"),
    ("keys", 65, "keys must be at most 64, got 65"),
])  # fmt: skip
def test_a_knob_beyond_its_end_is_refused(knob, value, words):
    with pytest.raises(ValueError) as caught:
        Setting(**{knob: value})
    assert words in str(caught.value)


def test_panels_show_what_was_computed():
    settings = [Setting(), Setting(30.0, 0.5, 4)]
    figure, table = heads.plot_settings(settings)
    assert len(table) == 2 * len(TEMPERATURES) and table["shown"].nunique() == 2
    weights, jacobian, gradients = figure.axes[3:6]
    p = torch.softmax(typical_row(head_of(settings[1])), -1)
    assert np.allclose(weights.patches[0].get_data().values, p)
    assert np.allclose(jacobian.get_images()[0].get_array(), torch.diag(p) - torch.outer(p, p))
    dots = [line.get_ydata()[0] for line in gradients.get_lines() if line.get_marker() == "o"]
    assert dots == pytest.approx(gradients_of(head_of(settings[1])).tolist())


# ---- the film


def test_a_film_holds_every_kept_step(film):
    assert film.steps == [0, 10, 20, 30, 40] and film.maps.shape == (5, 6, 5, 5)
    assert torch.allclose(film.maps.sum(-1), torch.ones(()), atol=1e-5)
    assert film.probes["step"].tolist() == film.steps and set(film.probes) == {"step", *PROBED}
    table = film.table()
    assert table["test_accuracy"].tolist() == film.history["test_accuracy"].tolist()
    assert table["layer 1\nhead 1, CLS to CLS"].tolist() == pytest.approx(film.maps[:, 0, 0, 0].tolist())


def test_printed_film_marks_its_moments(film):
    figure, moments = films.plot_film(film)
    maps = [axis for axis in figure.get_axes() if axis.get_images()]
    assert len(maps) == 4 * 6
    for row, step in enumerate(moments.values()):
        shown = np.stack([axis.get_images()[0].get_array() for axis in maps[6 * row : 6 * row + 6]])
        assert np.allclose(shown, film.maps[film.steps.index(step)])


# ---- moving pictures


def show(view, setting):
    head = head_of(setting)
    view.show(head, against_temperature(head), setting.temperature)


def head_screen():
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    view = heads.HeadView(figure.subplots(1, 3), "temperature")
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


def test_nobody_gets_knobs_in_a_headless_run(film, monkeypatch, capsys):
    monkeypatch.setattr(heads, "ipywidgets", None)  # building a widget would fail
    monkeypatch.setattr(films, "ipywidgets", None)
    assert heads.setting_knobs() is None and films.film_knob(film) is None
    assert "sliders" in capsys.readouterr().out


def test_knobs_move_the_pictures(film, monkeypatch):
    monkeypatch.delenv("EUREKA_HEADLESS")
    *knobs, picture = heads.setting_knobs().children
    seen = {bytes(picture.value)}
    for knob, value in zip(knobs, (10.0, 0.9, 32), strict=True):
        knob.value = value
        assert bytes(picture.value) not in seen
        seen.add(bytes(picture.value))
    knobs[0].value = 100.0  # the slider's end, which is a float and may lie a rounding beyond
    play, knob, picture = films.film_knob(film).children
    first = bytes(picture.value)
    knob.value = play.max
    assert bytes(picture.value) != first and isinstance(play, ipywidgets.Play)
    knob.value = 0
    assert bytes(picture.value) == first and not plt.get_fignums()
