"""The README does what it says: its example runs, its links lead somewhere, it stays short."""

import re

from eureka_lib import figures, paths, profiles, scorecard
from eureka_lib.experiment import run
from eureka_lib.models import attention

README = (paths.ROOT / "README.md").read_text()


def test_it_is_short():
    text = README[: README.index(scorecard.BEGIN)] + README[README.index(scorecard.END) :]
    assert len(text.splitlines()) <= 120


def test_its_links_lead_to_files():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (paths.ROOT / target).exists(), target


def test_its_new_attention_trains_and_is_drawn(tiny, store):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.splitlines()) <= 10
    exec(code, {})
    try:
        found = run(tiny.vary(attention="squared_relu"), store)
    finally:
        del attention.NORMALISERS["squared_relu"]
    assert found.history["test_loss"].notna().all()
    figure, (axis,) = figures.panels(1)
    figures.plot_loss(axis, [found], profiles.get("smoke").vit.build_task())
    assert axis.get_lines()[0].get_label() == "ViT, squared_relu"
