"""A run's curve, drawn while it trains."""

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import DisplayHandle, display

from eureka_lib import progress
from eureka_lib.attention.registry import colour_of
from eureka_lib.experiments.experiment import Experiment
from eureka_lib.plots.style import PLOT_WIDTH, derived_line
from eureka_lib.tasks.two_step import TwoStepTask


class LiveCurve:
    """Test accuracy of one run, drawn while it trains; give it as ``on_evaluation``.

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
        last = history.iloc[-1]
        self.bar.update(int(last["step"]), f"test accuracy {last['test_accuracy']:.2f}")
        self.line.set_data(history["step"], history["test_accuracy"])
        if progress.headless():
            return
        if self.handle is None:
            self.handle = display(self.figure, display_id=True)
        else:
            self.handle.update(self.figure)
