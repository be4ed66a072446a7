"""The gallery: one page with every figure, readable by itself, offline, on a phone and in the dark.

A Jinja template is filled with the :mod:`entries <eureka_lib.run_all.gallery.entries>`. The pictures are in the page,
packed without loss; what the page links to (the same in full, notebooks, data, provenance) lies beside it.
"""

import base64
import io
from collections import Counter
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from eureka_lib import paths
from eureka_lib.claims import scorecard
from eureka_lib.claims.registry import CLAIMS, kind_of
from eureka_lib.plots.verdicts import COLOURS
from eureka_lib.progress import clock
from eureka_lib.run_all.gallery import film
from eureka_lib.run_all.gallery.entries import Entry, gather, pages
from eureka_lib.run_all.gallery.links import links_from, relink
from eureka_lib.run_all.gallery.render import TEMPLATES, to_html

HERO, SCORECARD = "01_the_phenomenon", "15_scorecard"  # the figures of the first screen


def build(folder: Path, notebooks: Path, profile: str) -> Path | None:
    """Write ``index.html`` into a profile's ``folder`` of figures and return its path; None if there are no figures.

    ``notebooks`` is where the sources of the notebooks are. A notebook that has been executed is linked as a page,
    another one as its source; also from the other notebooks' pages.
    """
    relink(folder / "notebooks", notebooks)
    chapters = gather(folder, notebooks)
    if not chapters:
        return None
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    link = links_from(folder, notebooks, folder / "notebooks")
    entries = {entry.name: entry for chapter in chapters for entry in chapter.entries}
    verdicts = scorecard.read(profile, folder)
    text = environment.get_template("gallery.html.j2").render(
        chapters=chapters, profile=profile, link=link, picture_of=_picture_of, url_of=_url, clock=clock,
        markdown=lambda source: Markup(to_html(source, link)), counted=_counted, pages=pages(notebooks),
        kind_of=kind_of, colours=COLOURS, first=[entries[name] for name in (HERO, SCORECARD) if name in entries],
        findings=scorecard.findings(verdicts) if len(verdicts) else "", claims=_claims(verdicts, folder),
        figures=entries, film=film.film(folder) if film.NAME in entries else None,
    )  # fmt: skip
    path = folder / "index.html"
    paths.write_atomically(path, text.encode())
    return path


def _claims(verdicts: pd.DataFrame, folder: Path) -> list[dict]:
    """The claims, each with its verdict or verdicts in a line, its rows, and its page if there is one."""
    return [
        {"name": name, "words": CLAIMS[name].short + " (ours)" * CLAIMS[name].own, "tally": scorecard.tally(rows),
         "verdicts": set(rows["verdict"]), "rows": rows.to_dict("records"),
         "page": next((f"claims/{page.name}" for page in folder.glob(f"claims/{name}.md")), None)}
        for name, rows in verdicts.groupby("claim", sort=False)
    ]  # fmt: skip


def _picture_of(entry: Entry) -> dict[str, str | int]:
    """A figure as a data URL, with its size in pixels."""
    picture = Image.open(entry.folder / f"{entry.name}.png").convert("RGB")
    return {"url": _url(picture), "width": picture.width, "height": picture.height}


def _url(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "WEBP", lossless=True, quality=20, method=2)  # without loss, too: it is the effort, not the look
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"


def _counted(groups: list[dict]) -> list[str]:
    """The runs behind a figure, in words: one entry per network, fix and task."""
    counts: Counter[str] = Counter()
    for group in groups:
        model, fix, task = (group["config"][part] for part in ("model", "fix", "task"))
        words = [model.get("attention", model["name"])]
        if fix["scale_schedule"] != "constant":
            words.append(f"with a {fix['scale_schedule']} schedule of the scale")
        if fix["gradient_scaling"] != "none":
            words.append(f"with gradients {fix['gradient_scaling']}")
        counts[" ".join([*words, "on", task["name"]]).replace("_", " ")] += len(group["keys"])
    return [f"{n} {'runs' if n > 1 else 'run'} of {what}" for what, n in counts.items()]
