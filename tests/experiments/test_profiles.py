"""Profiles by name, from the environment, and their seeds."""

import pytest

from eureka_lib.benchmark import search
from eureka_lib.experiments import profiles


def test_auto_takes_the_environment(monkeypatch):
    monkeypatch.setenv("EUREKA_PROFILE", "paper")
    assert profiles.get().name == "paper"
    monkeypatch.delenv("EUREKA_PROFILE")
    assert profiles.get("auto").name == "laptop"
    assert profiles.get("smoke").name == "smoke"


def test_unknown_profiles_are_named(monkeypatch):
    with pytest.raises(
        ValueError, match="unknown profile 'labtop': allowed are laptop, paper, smoke; did you mean 'laptop'"
    ):
        profiles.get("labtop")
    monkeypatch.setenv("EUREKA_PROFILE", "papr")
    with pytest.raises(ValueError, match="unknown profile 'papr'.*did you mean 'paper'"):
        profiles.get("auto")


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_every_profile_builds_its_models_on_matching_sizes(name):
    profile = profiles.get(name)
    for experiment in (profile.vit, profile.resnet):
        embedded = experiment.vary(indicator_source="digits", target_source="digits")
        embedded.build_model(embedded.build_task())
    assert profile.vit.task == profile.resnet.task


def test_reported_seeds_count_from_zero():
    vit = profiles.get("smoke").vit
    assert [e.model_seed for e in profiles.seeded(vit, 0, 3)] == [0, 1, 2]
    assert [e.data_seed for e in profiles.seeded(vit, 2, 3)] == [0, 1]
    with pytest.raises(ValueError, match="number of seeds must be a whole number >= 0, got -1"):
        profiles.seeded(vit, -1, 3)


def test_the_gradient_scaling_baselines_have_fewer_seeds_on_a_laptop():
    groups = profiles.get("laptop").cheap.groups()
    assert {name: len(group) for name, group in groups.items() if len(group) != 20} == dict.fromkeys(
        ("to_block_mean", "to_value_mean", "to_value_mean_per_head"), 10
    )
    assert {len(group) for group in profiles.get("smoke").cheap.groups().values()} == {2}
    assert {len(group) for group in profiles.get("laptop").cheap.groups(seeds=3).values()} == {3}


@pytest.mark.parametrize(
    ("name", "tuned"),
    [
        ("in_context", profiles.get("laptop").in_context.tuned),
        ("language", profiles.get("laptop").language.tuned),
        ("zoo", profiles.TUNED_ZOO),
        ("tuning", profiles.TUNED_4),
        (
            "flagship_budgets",
            {
                name: {"learning_rate": experiment.training.learning_rate}
                for name, experiment in {"softmax": profiles.FLAGSHIP_VIT, "resnet9": profiles.FLAGSHIP_RESNET}.items()
            },
        ),
        ("flagship", profiles.TUNED_FLAGSHIP),
    ],
)
def test_learning_rates_are_those_that_the_search_found(name, tuned):
    table = search.table_of(name)
    seeds = search.SEARCHES[name].seeds
    rates = search.FLAGSHIP_RATES if name == "flagship" else search.LEARNING_RATES
    assert set(table["seed"]) == set(seeds) and set(table["learning_rate"]) == set(rates)
    assert table.groupby(["method", "learning_rate"]).size().unique().tolist() == [len(seeds)], (
        "the same effort for every method"
    )
    best = search.SEARCHES[name].best(table).set_index("method")["learning_rate"]
    if name == "flagship":
        assert all(min(rates) < rate < max(rates) for rate in best), "an optimum at the edge widens the grid"
    assert best.to_dict() == {method: settings["learning_rate"] for method, settings in tuned.items()}
