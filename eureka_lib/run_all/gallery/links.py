"""Links from one notebook to another lead to the other's page if it was made, to the notebook itself if not."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from eureka_lib import paths


def links_from(folder: Path, notebooks: Path, pages: Path | None = None) -> Callable[[str], str]:
    """What a link in a notebook, which is relative to the folder ``notebooks``, becomes on a page in ``folder``.

    A notebook's page in the folder ``pages`` (none given: in ``folder``), if there is one, takes the notebook's place.
    """

    def link_to(url: str) -> str:
        name, hash_, place = url.partition("#")
        if ":" in url or not name:
            return url
        page = (pages or folder) / f"{name.removesuffix('.ipynb')}.html"
        target = page if name.endswith(".ipynb") and page.exists() else notebooks / name
        return quote(Path(os.path.relpath(target, folder)).as_posix()) + hash_ + place

    return link_to


def relink(folder: Path, notebooks: Path) -> None:
    """Lead the links between the notebooks' pages in ``folder`` to the pages that are there now."""
    link_to = links_from(folder, notebooks)
    names = "|".join(re.escape(path.stem) for path in notebooks.glob("*.ipynb"))
    link = re.compile(rf'href="(?:[^":#]*/)?({names})\.(?:ipynb|html)(?=["#])')
    for page in folder.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        linked = link.sub(lambda found: f'href="{link_to(f"{found[1]}.ipynb")}', text)
        paths.write_if_changed(page, linked.encode())
