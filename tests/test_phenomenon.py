"""What the whole project is about, trained here in seconds: a plateau, then a Eureka-moment."""

import pytest

from eureka_lib.analysis.eureka import eureka_moment, jump_duration, plateau_level
from eureka_lib.experiments import profiles
from eureka_lib.experiments.run import run

BASE = profiles.get("laptop").forecast.base.vary(evaluate_every=20)


def test_a_network_waits_on_the_plateau_and_then_jumps(store):
    """Which seeds jump within the budget hangs on rounding, hence on the processor: one of three is enough."""
    derived = BASE.build_task().plateau_accuracy
    histories = (run(BASE.vary(seed=seed), store).accuracy for seed in range(3))
    steps, accuracy = next(history for history in histories if eureka_moment(*history).happened)
    moment = eureka_moment(steps, accuracy).step
    assert moment >= 160 and plateau_level(steps, accuracy, derived) == pytest.approx(derived, abs=0.05)
    assert accuracy.iloc[-1] > 0.9 and jump_duration(steps, accuracy) <= 200


def test_without_a_choice_of_where_to_look_it_never_jumps(store):
    """Attention so flat that all tokens count the same cannot follow the indicators: the plateau is all there is."""
    even = BASE.vary(scale_start=1e-6)
    steps, accuracy = run(even, store).accuracy
    assert not eureka_moment(steps, accuracy).happened and accuracy.max() < 0.7
    assert plateau_level(steps, accuracy, even.build_task().plateau_accuracy) == pytest.approx(0.55, abs=0.05)
