"""A page per claim, in Markdown: what is claimed and where, what we did, what was seen, and what that does not show.

Written by the notebook of the scorecard from the rows that the other notebooks left, next to them in
``figures/claims``, where GitHub shows them as pages. The words are the registry's, the numbers the rows'.
"""

import json
import os
from collections import Counter
from math import inf, isfinite
from pathlib import Path

import pandas as pd

from eureka_lib import paths
from eureka_lib.analysis.eureka import wilson_interval
from eureka_lib.claims.registry import CLAIMS, NOWHERE, UNDECIDED, Claim, Row
from eureka_lib.claims.rules import SHARE
from eureka_lib.claims.scorecard import markdown_table, measured, number, runs, seen

# Wall minutes of the notebooks that judge claims, at profile laptop on CORES cores, with nothing trained before.
LAPTOP_MINUTES = {"01": 13, "02": 44, "03": 16, "05": 54, "06": 6.2, "07": 0.5, "08": 0.8, "10": 8.6, "11": 6.2,
                  "13": 9.2, "14": 2.9}  # fmt: skip
CORES = 2


def write(table: pd.DataFrame, profile: str) -> list[Path]:
    """Write the pages of all claims in a profile's ``table`` (:func:`eureka_lib.claims.scorecard.read`)."""
    figures = paths.figures_dir(profile)
    files = {figures / "claims" / f"{claim}.md": page(claim, rows, figures) for claim, rows in table.groupby("claim")}
    for file, text in files.items():
        paths.write_if_changed(file, text.encode())
    return list(files)


def page(claim: str, rows: pd.DataFrame, figures: Path) -> str:
    """The page of a claim, from its rows and what lies in the folder ``figures``."""
    known, profile = CLAIMS[claim], rows["profile"].iloc[0]
    whose = "A question of ours" if known.own else "The claim"
    parts = [
        f"# {claim}: {known.short}",
        f"**{whose}:** {known.words}. *Where it stands: {known.source}.*",
        f"**Seen at profile `{profile}`:** {seen(rows)}.",
        f"**In numbers:** {measured(rows)}; runs behind each: {runs(rows)}.",
        f"## What we did\n\n{known.did} It is judged in {_notebooks(rows, figures)}.",
        _pictures(known, rows),
        f"## Verdicts\n\n{_verdicts(rows)}",
        _in_words(rows),
        f"## What it does not show\n\n{known.limits}",
        f"## Scope and cost\n\n{_scope(known, rows, figures)}",
        "## Repeat it\n\n```bash\n" + "\n".join(dict.fromkeys(rows["command"])) + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _notebooks(rows: pd.DataFrame, figures: Path) -> str:
    folder = Path(os.path.relpath(paths.NOTEBOOKS, figures / "claims")).as_posix()
    return ", ".join(f"[{name}]({folder}/{name}.ipynb)" for name in dict.fromkeys(rows["notebook"]))


def _pictures(claim: Claim, rows: pd.DataFrame) -> str:
    """The claim's figure, and links to the others that its rows name."""
    names = list(dict.fromkeys([claim.figure, *rows["figure"]]))
    others = ", ".join(f"[{name}](../{name}.png)" for name in names[1:])
    return f"![{claim.short}](../{names[0]}.png)" + (f"\n\nAlso: {others}." if others else "")


def _verdicts(rows: pd.DataFrame) -> str:
    """A line per row. What was trained stands above them, if it is the same for all."""
    abouts = rows["about"].unique()
    common = abouts[0] if len(abouts) == 1 else ""
    table = pd.DataFrame({
        "part": rows["part"].where((rows["about"] == "") | (common != ""), rows["part"] + ": " + rows["about"]),
        "verdict": "**" + rows["verdict"] + "**",
        "number (95 % interval)": rows.apply(number, axis=1),
        "unit": rows["unit"],
        "claimed": rows["supports"],
        "n (runs, or cells of a grid)": rows["n"],
        "of these without a jump": ["not recorded" if pd.isna(k) else f"{k:.0f}" for k in rows["censored"]],
    })  # fmt: skip
    if rows["censored"].isna().all():
        table = table.drop(columns="of these without a jump")
    return (f"Trained: {common}.\n\n" if common else "") + markdown_table(table)


def _in_words(rows: pd.DataFrame) -> str:
    items = "\n".join(
        f"- {row.statement} *{row.verdict}*: {row.effect}. Rule: {row.test}.{power(row)}" for row in rows.itertuples()
    )
    return f"<details><summary>In words, with the rules</summary>\n\n{items}\n</details>"


def power(row: Row) -> str:
    """What an undecided row could have decided: the number nearest to the threshold that so many runs tell from it.

    Of a share that is the least whose Wilson interval lies above; of another number, the one that an interval as wide
    as the row's would just tell, ratios by factors. Empty for what is decided, and where the data bound nothing.
    """
    side, _, threshold = row.supports.rpartition(" ")
    if row.verdict != UNDECIDED or side not in ("above", "below"):
        return ""
    threshold, end = float(threshold), row.low if side == "above" else row.high
    if row.unit == SHARE:
        enough = [k for k in range(1, row.n + 1) if wilson_interval(k, row.n)[0] > threshold]
        return f" With {row.n} runs it takes at least {enough[0]} to decide it." if enough else ""
    if "ratio" in row.unit:
        least = threshold * row.value / end if end > 0 else inf
    else:
        least = threshold + row.value - end
    return f" An interval this wide decides it only for numbers {side} {least:.2f}." if isfinite(least) else ""


def _scope(claim: Claim, rows: pd.DataFrame, figures: Path) -> str:
    """This reproduction against what is claimed: sizes from the figures' provenance, cost as far as it is known."""
    minutes = [LAPTOP_MINUTES.get(name) for name in dict.fromkeys(rows["figure"].str[:2])]
    known = rows["profile"].iloc[0] == paths.DEFAULT_PROFILE and None not in minutes
    cost = f"about {sum(minutes):.0f} minutes on {CORES} CPU cores ({sum(minutes) * CORES / 60:.1f} core-hours)"
    size = "; ".join(_sizes(rows, figures)) or "not recorded"
    theirs = claim.scale if claim.scale == NOWHERE else "not known to us"
    table = {
        "": ["size", "cost"],
        "here": [size, cost if known else "not measured"],
        "as claimed": [claim.scale, theirs],
    }
    return markdown_table(pd.DataFrame(table))


def _sizes(rows: pd.DataFrame, figures: Path) -> list[str]:
    """The runs behind the rows' figures, in words: how many of which network, on which budget."""
    sizes: Counter[str] = Counter()
    keys: set[str] = set()
    for name in dict.fromkeys(rows["figure"]):
        file = figures / f"{name}.json"
        for group in json.loads(file.read_text("utf-8"))["runs"] if file.exists() else ():
            model, training = group["config"]["model"], group["config"]["training"]
            new = set(group["keys"]) - keys
            keys |= new
            layers = f" of {model['depth']} layers, width {model['width']}" if "depth" in model else ""
            sizes[f"{model['name']}{layers}, {training['steps']:,} steps of batch {training['batch_size']}"] += len(new)
    return [f"{n} runs: {what}" for what, n in sizes.items() if n]
