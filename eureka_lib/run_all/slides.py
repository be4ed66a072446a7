"""``./run_all.sh slides NOTEBOOK``: executed notebooks as slides, by nbconvert, in one file each that fetches nothing.

What is skipped is in the notebooks (``slideshow`` in a cell's metadata, as nbconvert and Jupyter know it): *Predict*,
each figure and the verdict have slides of their own, so that a vote is not spoiled. Code is hidden; folded answers stay
folded until they are clicked. Arrow keys turn the slides.
"""

from collections.abc import Sequence
from pathlib import Path

from eureka_lib import paths
from eureka_lib.run_all.jobs import select

USAGE = "usage: ./run_all.sh slides NOTEBOOK ...      (of notebooks that ./run_all.sh has executed)"


def main(arguments: Sequence[str], known: dict[str, Path], only_check: bool = False) -> int:
    """Write the slides and return the exit status; ValueError for a notebook that is unknown or not executed yet."""
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    executed = paths.figures_dir(paths.DEFAULT_PROFILE) / "notebooks"
    notebooks = [executed / f"{name}.ipynb" for name in select(arguments, known) if arguments]
    if not notebooks:
        raise ValueError(f"slides of which notebook? {USAGE}")
    for notebook in notebooks:
        if not notebook.exists():
            raise ValueError(f"{notebook.stem} has not been executed: ./run_all.sh {notebook.stem}")
    if only_check:
        return 0
    from eureka_lib.run_all.gallery.links import links_from
    from eureka_lib.run_all.gallery.render import SlidesExporter

    for notebook in notebooks:
        html, _ = SlidesExporter(links_from(executed, paths.NOTEBOOKS)).from_filename(str(notebook))
        slides = notebook.with_suffix(".slides.html")
        paths.write_if_changed(slides, html.encode())
        print(slides)
    return 0
