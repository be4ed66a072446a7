"""The gallery: one page with every figure, readable by itself, offline, on a phone and in the dark.

A Jinja template is filled with the :mod:`entries <eureka_lib.run_all.gallery.entries>`. The pictures are in the page,
packed without loss; what the page links to (notebooks, data, provenance) lies beside it.
"""

import base64
import io
from collections import Counter
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from eureka_lib import paths
from eureka_lib.claims.registry import kind_of
from eureka_lib.progress import clock
from eureka_lib.run_all.gallery.entries import Chapter, gather, pages
from eureka_lib.run_all.gallery.render import TEMPLATES, links_from, to_html


def build(folder: Path, notebooks: Path, profile: str) -> Path | None:
    """Write ``index.html`` into a profile's ``folder`` of figures and return its path; None if there are no figures.

    ``notebooks`` is where the sources of the notebooks are. A notebook that has been executed is linked as a page,
    another one as its source.
    """
    chapters = gather(folder, notebooks)
    if not chapters:
        return None
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    template = environment.get_template("gallery.html.j2")

    link = links_from(folder, notebooks, folder / "notebooks")
    text = template.render(
        chapters=chapters, profile=profile, link=link, claims=_claims(chapters), picture=_picture, clock=clock,
        markdown=lambda source: Markup(to_html(source, link)), counted=_counted, pages=pages(notebooks),
        kind_of=kind_of,
    )  # fmt: skip
    path = folder / "index.html"
    paths.write_atomically(path, text.encode())
    return path


def _claims(chapters: list[Chapter]) -> list[tuple[str, list[dict]]]:
    """The verdict rows by claim, in the order of the claims."""
    rows = [row for chapter in chapters for entry in chapter.entries for row in entry.verdicts]
    names = sorted({row["claim"] for row in rows})
    return [(name, [row for row in rows if row["claim"] == name]) for name in names]


def _picture(png: Path) -> dict[str, str | int]:
    """A picture as a data URL, with its size in pixels."""
    picture = Image.open(png).convert("RGB")
    data = io.BytesIO()
    picture.save(data, "WEBP", lossless=True, quality=100, method=4)
    url = f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"
    return {"url": url, "width": picture.width, "height": picture.height}


def _counted(groups: list[dict]) -> list[str]:
    """The runs behind a figure, in words: one entry per network, fix and task."""
    counts: Counter[str] = Counter()
    for group in groups:
        config = group["config"]
        words = [config["model"].get("attention", config["model"]["name"])]
        words += [f"with {fix}" for fix in _fixes(config["fix"])] + ["on", config["task"]["name"]]
        counts[" ".join(words).replace("_", " ")] += len(group["keys"])
    return [f"{n} {'runs' if n > 1 else 'run'} of {what}" for what, n in counts.items()]


def _fixes(fix: dict) -> list[str]:
    found = [f"a {fix['scale_schedule']} schedule of the scale"] if fix["scale_schedule"] != "constant" else []
    return found + ([f"gradients {fix['gradient_scaling']}"] if fix["gradient_scaling"] != "none" else [])
