"""The README does what it says: its example runs, its links lead somewhere, it stays short."""

import json
import re

from eureka_lib import figures, paths, profiles
from eureka_lib.experiment import run
from eureka_lib.models import attention

README = (paths.ROOT / "README.md").read_text()


def test_it_is_short():
    assert len(README.splitlines()) <= 130


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


def test_its_verdicts_are_those_of_the_stored_claims():
    """Every comparison of the laptop's claims stands in the README with its numbers, each claim with its verdict."""
    for file in sorted((paths.ROOT / "figures" / "claims").glob("*.json")):
        for row in json.loads(file.read_text()):
            if match := re.search(r"over softmax's: ([\d.]+ \([\d.]+ to [\d.]+\)); with", row["effect"]):
                name, regime = re.match(r"(.*) \((.*)\) alleviates", row["statement"]).groups()
                (line,) = [text for text in README.splitlines() if text.startswith(f"| {regime} | {name} |")]
                assert match[1] in line and row["verdict"] in line
            elif row["claim"] in ("C1", "C2", "C3", "C4", "C7", "C8"):
                (line,) = [text for text in README.splitlines() if text.startswith(f"| {row['claim']}:")]
                assert f"**{row['verdict']}**" in line
                if row["claim"] in ("C3", "C4", "C7", "C8"):  # several rows share a line: each with its number
                    assert f"{abs(row['value']):.2f}" in line or re.match(r"\d+ of \d+", row["effect"])[0] in line, row
