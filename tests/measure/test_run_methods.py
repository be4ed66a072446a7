"""What stored runs say of themselves."""

from pathlib import Path

import pandas as pd
import pytest

from eureka_lib.attention.registry import METHODS, changes_of
from eureka_lib.experiments import profiles
from eureka_lib.measure.runs import method_of
from eureka_lib.store import Run


def stored(experiment):
    return Run(Path("run"), experiment.config(), pd.DataFrame(), {})


@pytest.mark.parametrize("name", METHODS)
def test_a_run_knows_the_method_that_it_stands_for(name):
    assert method_of(stored(profiles.FLAGSHIP.vary(**changes_of(name)))) == name


def test_a_run_without_attention_stands_for_its_network_and_another_schedule_for_heat_treatment():
    assert method_of(stored(profiles.get("smoke").resnet)) == "resnet9"
    assert method_of(stored(profiles.FLAGSHIP.vary(scale_schedule="linear", scale_start=8.0))) == "heat_treatment"
