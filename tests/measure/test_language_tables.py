"""Language modelling from the profile to the pictures: the lines, where attention looks, what is guessed, the study."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from eureka_lib.claims import studies
from eureka_lib.experiments import profiles
from eureka_lib.measure.language import (
    attention_by_offset,
    attention_table,
    derived_losses,
    guess_table,
    neighbour_table,
    plateau_of,
    sample_table,
    text_table,
)
from eureka_lib.measure.plateaus import BEFORE, NEVER, Plateau, phases
from eureka_lib.plots.curves import plot_neighbours
from eureka_lib.plots.maps import plot_attention
from eureka_lib.plots.style import panels
from eureka_lib.tasks.language import MASK

pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("house_style")
STUDY = "language"
METHODS = ("softmax", "norm_softmax", "heat_treatment")


@pytest.fixture(scope="module")
def task(regime):
    return regime.base.build_task()


@pytest.fixture(scope="module")
def firsts(groups, runs):
    """The first seed of each method and its run."""
    return {method: (groups[method][0], runs[method][0]) for method in METHODS}


def model_of(firsts, method="softmax"):
    experiment, found = firsts[method]
    return experiment.model_at(found, 6, experiment.build_task())


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_every_profile_has_a_regime(name):
    regime = profiles.get(name).language
    assert set(regime.tuned) == set(METHODS) and regime.experiment("heat_treatment").fix.scale_start == 24
    assert (regime.base.training.label_smoothing, regime.base.task.mask_probability) == (0, 0.15)
    assert regime.base.task.corpus == ("wikitext" if name == "paper" else "docstrings")


def test_the_papers_scale():
    base = profiles.get("paper").language.base
    assert (base.model.depth, base.model.heads, base.model.width, base.model.mlp_ratio) == (12, 12, 768, 4)
    assert (base.task.vocabulary, base.task.tokens, base.training.learning_rate) == (50_265, 512, 5e-4)


def test_the_study_names_its_scale_and_has_the_texts_plateau(regime, task):
    study = studies.language(regime.base, task)
    base = regime.base
    assert study.claim == "C7" and study.plateau == Plateau(task.plateau_loss, (0.05, 0.10))
    for part in (f"{base.model.depth} layers", f"width {base.model.width}", f"{task.sizes['train']:,} tokens",
                 f"{base.task.tokens} in a sample", f"{base.training.steps:,} steps"):  # fmt: skip
        assert part in study.about
    lines = derived_losses(task)
    assert lines["left neighbour"] == task.neighbour_loss(-1) < lines["unigram"] == task.plateau_loss


def test_the_text_in_numbers(task):
    table = text_table(task)
    assert table["documents"].tolist() == [40, 40] and table["tokens"].to_dict() == task.sizes
    assert (table["characters"] > table["tokens"]).all()
    assert table["SHA-256 of docstrings"].nunique() == 1 and len(table["SHA-256 of docstrings"].iloc[0]) == 64


def test_samples_show_masks_and_name_what_is_hidden(task):
    table = sample_table(task, 30, seed=0)
    shown, hidden = table["shown"], table["to be guessed"]
    assert shown.str.startswith("<s>").all() and shown.str.endswith("</s>").all()
    assert sum(text.count("<mask>") for text in shown) == pytest.approx(0.8 * 30 * 22 * 0.15, rel=0.25)
    assert not hidden.str.contains("<mask>").any()


def test_the_nearest_neighbours_tell_most(task):
    table = neighbour_table(task, 4)
    assert table["offset"].tolist() == [-4, -3, -2, -1, 1, 2, 3, 4]
    loss = table.set_index("offset")["loss"]
    assert loss[-1] == task.neighbour_loss(-1) and (loss[[-4, 4]] > loss[[-1, 1]].max()).all()
    figure, (axis,) = panels(1)
    plot_neighbours(axis, table, task)
    assert np.allclose(axis.lines[0].get_ydata(), table["loss"])
    plt.close(figure)


def test_attention_by_offset_is_the_mean_over_hidden_tokens(task, firsts):
    """Written down naively, token by token."""
    model, inputs = model_of(firsts), task.test_set(20)[0][0]
    found = attention_by_offset(model, inputs, reach=3)
    ids, chosen = inputs.unbind(1)
    with torch.no_grad():
        layers = model.body.roberta(ids, output_attentions=True).attentions
    for layer, weights in enumerate(layers):
        for offset in range(-3, 4):
            pairs = [(b, q) for b, q in chosen.nonzero().tolist() if 0 <= q + offset < ids.shape[1]]
            mean = torch.stack([weights[b, :, q, q + offset] for b, q in pairs]).mean(dim=0)
            assert torch.allclose(found[layer, :, offset + 3], mean, atol=1e-6)


def test_attention_that_is_known_is_seen(task, firsts):
    """Infinitely hot attention is even: 1 over the number of tokens, at every distance."""
    model = model_of(firsts)
    model.set_scale_factor(1e-6)
    found = attention_by_offset(model, task.test_set(20)[0][0], reach=2)
    assert torch.allclose(found, torch.full_like(found, 1 / task.config.tokens), atol=1e-4)


def test_attention_tables_and_pictures(task, firsts):
    plateau = plateau_of(task)
    steps = {method: phases(found, plateau) for method, (_, found) in firsts.items()}
    assert steps["softmax"] == {BEFORE: 2, NEVER: 6}
    table = attention_table(firsts, steps, task, 50, reach=3)
    model = firsts["softmax"][0].model
    assert len(table) == 3 * 2 * model.depth * model.heads * 7
    one = table.query("method == 'softmax' and step == 6 and layer == 1 and head == 2").set_index("offset")["weight"]
    expected = attention_by_offset(model_of(firsts), task.test_set(50)[0][0], 3)[0, 1]
    assert np.allclose(one[list(range(-3, 4))], expected)
    figure = plot_attention(table, task.config.tokens)
    titles = [axis.get_title(loc="left") for axis in figure.axes if axis.get_title(loc="left")]
    assert titles == ["softmax", "NormSoftmax", "Heat Treatment"]
    drawn = figure.axes[0].get_images()[0].get_array()
    assert drawn.shape == (1 + model.depth * model.heads, 7)
    assert np.allclose(drawn[2], one.sort_index() * task.config.tokens), "the second head at the end"
    early = table.query(f"method == 'softmax' and phase == '{BEFORE}'").groupby("offset")["weight"].mean()
    assert np.allclose(drawn[0], early * task.config.tokens)
    plt.close(figure)


def test_guesses_are_the_models_own(task, firsts):
    test_set = task.test_set(50)
    inputs, labels = (part[2:3] for part in test_set[0])
    table = guess_table({"end": model_of(firsts)}, task, test_set, 2)
    assert len(table) == int(inputs[0, 1].sum()) and (inputs[0, 0][inputs[0, 1].bool()] == MASK).all()
    assert table["hidden"].tolist() == task.words(labels[0][labels[0] >= 0])
    assert table["shown"].str.count(r"\[\?\]").min() >= 1
    with torch.no_grad():
        likely = model_of(firsts)(inputs).argmax(dim=1)
    for word, guesses in zip(task.words(likely), table["end"], strict=True):
        assert guesses.startswith(repr(word)) and guesses.count("%") == 3
    with pytest.raises(ValueError, match="sample must be a whole number from 0 to 49, got 50"):
        guess_table({}, task, test_set, 50)
