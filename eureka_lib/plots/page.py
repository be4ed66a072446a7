"""A notebook's place for its figures and claims.

Four files per figure: PNG, PDF, the plotted data as CSV, and a JSON that says where they come from. Nothing in them is
dated or knows the machine, so the same runs give the same files.
"""

import hashlib
import io
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from eureka_lib import paths, provenance
from eureka_lib.claims import registry, scorecard
from eureka_lib.experiments import defaults, profiles
from eureka_lib.measure.runs import by_config, setting_of, without_seeds
from eureka_lib.plots import session
from eureka_lib.plots.style import headline, smallest_text, use_style
from eureka_lib.store import RESULTS_VERSION, Run
from eureka_lib.validation import check_choice


class Page:
    """A notebook's place for its figures and claims: ``page = Page("07_where_the_gradient_goes", globals())``.

    Made in the set-up cell, whose figures then have the library's style. Of the notebook's ``namespace`` only the
    profile and the parameters are read. If one of these is not at its default
    (:mod:`eureka_lib.experiments.defaults`), the run is played: figures go to a folder of their own, no claims are
    recorded, and a line says so. Raises ValueError for a notebook whose defaults are not known.
    """

    def __init__(self, notebook: str, namespace: Mapping[str, object]):
        known = defaults.read(paths.NOTEBOOKS)
        self.notebook = check_choice("notebook of notebooks/defaults.json", notebook, known)
        self.profile = profiles.get(namespace["profile"]).name
        use_style()
        session.prepare()
        self._namespace, self._defaults = namespace, known[notebook]
        self.played: dict[str, object] = {}  # the parameters that are, or have been, other than their defaults
        self._note_played()

    def _note_played(self) -> None:
        """Record what is played; again at each product, as cells are executed in any order."""
        present = {name: self._namespace.get(name, value) for name, value in self._defaults.items()}
        played = self.played | defaults.changed(present, self._defaults)
        if played != self.played:
            self.played = played
            values, folder = ", ".join(defaults.as_arguments(played)), self.folder
            folder = folder.relative_to(paths.ROOT) if folder.is_relative_to(paths.ROOT) else folder
            print(f"Played with {values}: figures go to {folder}, and no claims are kept.")

    @property
    def folder(self) -> Path:
        """Where the figures go."""
        folder = paths.figures_dir(self.profile)
        return folder / paths.PLAYED if self.played else folder

    def record(self, rows: Sequence[registry.Row]) -> pd.DataFrame:
        """Keep the rows of the notebook's claims for the pages made of them, unless it is played; gives their table.

        What they say is displayed, a line per claim.
        """
        self._note_played()
        if rows:
            display(Markdown(scorecard.conclusion(rows, self.profile)))
        if not self.played:
            registry.save(rows, self.notebook, self.profile)
        return registry.table(rows, self.profile)

    def save(
        self,
        figure: Figure,
        name: str,
        data: pd.DataFrame,
        runs: Sequence[Run],
        says: str = "",
        setting: str = "",
        line_art: bool = True,
        weights_every: int = 0,
    ) -> Path:
        """Save ``figure`` as ``<name>.png`` and ``.pdf``, with ``data`` as ``.csv`` and its provenance as ``.json``.

        Above it stands what it ``says``: a sentence, computed where runs are behind it; and in grey their setting, or
        the one that is given. ``line_art`` is false for pictures whose greys mean something, which no page inverts.
        ``weights_every`` is set if the runs' kept weights are behind it, which then are released with the runs.
        ``name`` starts with the number of its notebook ("01_loss" of "01_the_eureka_moment"), by which the products of
        a notebook are found; ValueError otherwise. What depends on the machine, the time and the commit is kept apart,
        in ``machine/<name>.json``; so the four files change only if the figure does. Returns the PNG's path.
        """
        number = self.notebook.split("_")[0]
        if not name.startswith(f"{number}_"):
            raise ValueError(f"figure name {name!r} must start with its notebook's number: {number}_{name} would do")
        self._note_played()
        setting = setting or setting_of(runs)
        headline(figure, says, setting)
        table = data.to_csv(index=False, lineterminator="\n").encode()
        groups = by_config(runs)
        facts = {
            "figure": name,
            "says": says,
            "setting": setting,
            "line_art": line_art,
            "smallest_text": smallest_text(figure),
            "notebook": self.notebook,
            "profile": self.profile,
            "parameters": self._defaults | self.played,
            "command": shlex.join(["./run_all.sh", "--profile", self.profile, self.notebook, *self._options()]),
            "plotted_data": f"{name}.csv",
            "plotted_data_sha256": hashlib.sha256(table).hexdigest(),
            "weights_every": weights_every,
            "runs": [_origin(group) for group in groups],
        }
        machine = {
            "figure": name,
            "runs": [_circumstances(group) for group in groups],
            "versions": provenance.versions(),
            "git_commit": provenance.git_commit(),
        }
        files = {
            f"{name}.csv": table,
            f"{name}.png": _drawn(figure, "png", ["Software"]),
            f"{name}.pdf": _drawn(figure, "pdf", ["CreationDate", "Creator", "Producer"]),
            f"{name}.json": _json(facts),
            f"machine/{name}.json": _json(machine),
        }
        for file, content in files.items():
            paths.write_if_changed(self.folder / file, content)
        return self.folder / f"{name}.png"

    def _options(self) -> list[str]:
        return [word for argument in defaults.as_arguments(self.played) for word in ("-p", argument)]


def _drawn(figure: Figure, suffix: str, undated: Sequence[str]) -> bytes:
    """The figure as a file, without the metadata that are named."""
    file = io.BytesIO()
    figure.savefig(file, format=suffix, metadata=dict.fromkeys(undated))
    return file.getvalue()


def _json(facts: dict) -> bytes:
    return (json.dumps(facts, indent=2) + "\n").encode()


def _origin(group: Sequence[Run]) -> dict:
    """What decides the histories of the runs of one configuration."""
    return {
        "config": without_seeds(group[0].config),
        "seeds": [{s: run.config[s] for s in ("model_seed", "data_seed")} for run in group],
        "keys": [run.key for run in group],
        "results_version": RESULTS_VERSION,
        "status": [run.status for run in group],
        "data_sha256": _distinct(run.meta["data_sha256"] for run in group),
    }


def _circumstances(group: Sequence[Run]) -> dict:
    """Where, when and how long the runs of one configuration were trained."""
    facts = ("device", "machine", "versions", "git_commit")
    return {
        "keys": [run.key for run in group],
        "wall_seconds": round(sum(run.meta["wall_seconds"] for run in group), 2),
        **{fact: _distinct(run.meta[fact] for run in group) for fact in facts},
    }


def _distinct(values) -> list:
    return list({json.dumps(value): value for value in values}.values())
