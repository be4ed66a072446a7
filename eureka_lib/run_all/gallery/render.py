"""Markdown and notebooks as HTML that needs no network.

nbconvert's own renderer leaves mathematics to a script that every reader's browser fetches from the web. Here it is
translated into MathML when the page is made, which browsers draw by themselves.
"""

import copy
import re
from collections.abc import Callable
from pathlib import Path

from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

TEMPLATES = Path(__file__).parent / "templates"
MATHS = re.compile(r"(?<![\\$])\$([^$]+)\$(?!\$)")  # between single dollars
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


def mathml(tex: str, display: str = "inline") -> str:
    """TeX as a MathML element; ``display`` is "inline" or "block"."""
    return convert(" ".join(tex.split()), xmlns="", display=display).replace(' xmlns=""', "")  # HTML knows it anyway


class Renderer(IPythonRenderer):
    """nbconvert's renderer with mathematics as MathML, and every link as ``link_to`` says."""

    def __init__(self, link_to: Callable[[str], str], **options):
        super().__init__(escape=False, **options)
        self.link_to = link_to

    def inline_math(self, body: str) -> str:
        """Within a line."""
        return mathml(body)

    def block_math(self, body: str) -> str:
        """On lines of its own."""
        return mathml(body, "block")

    def block_html(self, html: str) -> str:
        """HTML in a notebook, such as the summary of a folded answer; Markdown does not look inside for mathematics."""
        return super().block_html(MATHS.sub(lambda found: mathml(found[1]), html))

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """A link, where ``link_to`` says."""
        return super().link(text, self.link_to(url), title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """A picture in the text, from there."""
        return super().image(text, self.link_to(url), title)


def to_html(markdown: str, link_to: Callable[[str], str] = str) -> str:
    """A piece of Markdown as HTML, without anchors at its headings."""
    return MarkdownWithMath(Renderer(link_to, exclude_anchor_links=True)).render(markdown)


def to_text(markdown: str) -> str:
    """The words of a piece of Markdown, for places where no markup may stand: ``$\\sigma$`` becomes ``sigma``."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    return " ".join(re.sub(r"[*`$\\{}]|<[^>]+>", "", text).split())


class OfflineExporter(HTMLExporter):
    """An executed notebook as one file, pictures included, that fetches nothing."""

    def __init__(self, link_to: Callable[[str], str] = str, **options):
        super().__init__(extra_template_basedirs=[str(TEMPLATES)], extra_template_paths=[str(TEMPLATES)],
                         **{"template_name": "offline", "embed_images": True} | options)  # fmt: skip
        self.link_to = link_to

    def markdown2html(self, source: str) -> str:
        """Our Markdown in place of nbconvert's."""
        return MarkdownWithMath(Renderer(self.link_to, anchor_link_text=self.anchor_link_text)).render(source)

    def from_notebook_node(self, nb: NotebookNode, resources: dict | None = None, **options) -> tuple[str, dict]:
        """As nbconvert's; a picture is described by the heading that it stands under."""
        return super().from_notebook_node(_described(nb), resources, **options)


class SlidesExporter(OfflineExporter):
    """The same as slides, without code: one for each cell that its metadata do not skip."""

    def __init__(self, link_to: Callable[[str], str] = str):
        super().__init__(link_to, template_name="slides", exclude_input=True, exclude_output_prompt=True)


def _described(notebook: NotebookNode) -> NotebookNode:
    notebook, heading = copy.deepcopy(notebook), ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = (HEADING.findall(cell.source) or [heading])[-1]
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.metadata["image/png"] = {"alt": f"Figure: {to_text(heading)}"}
    return notebook
