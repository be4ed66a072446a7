"""The scorecard: every verdict of every notebook on one page.

Each notebook leaves its rows as data (:mod:`eureka_lib.claims.registry`). Here they are read back and summed up, in one
line per claim and in two sentences, which are written into the README.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from eureka_lib import paths
from eureka_lib.attention.registry import METHODS
from eureka_lib.claims.registry import (
    CLAIMS,
    NOT_REPRODUCED,
    NOT_SEEN,
    NOT_TESTABLE,
    OWN_WORDS,
    PAPER,
    REPRODUCED,
    UNDECIDED,
    Row,
    at_scale,
    command,
    kind_of,
    load,
)

COLUMNS = ["claim", "asks", "part", "about", "statement", "verdict", "n", "censored", "effect", "value", "low", "high",
           "unit", "supports", "test", "profile", "source", "figure", "notebook", "command"]  # fmt: skip
WORDS = [
    REPRODUCED,
    NOT_SEEN,
    NOT_REPRODUCED,
    UNDECIDED,
    NOT_TESTABLE,
    *map(OWN_WORDS.get, (REPRODUCED, NOT_REPRODUCED)),
]


def read(profile: str, folder: Path | None = None) -> pd.DataFrame:
    """All claims that the profile's notebooks have left, a row each, in the order of the registry; perhaps none.

    The figures are in ``folder``, if not in the profile's own. Raises ValueError for a file that does not hold claims,
    or a claim that the registry does not name.
    """
    files = sorted(((folder or paths.figures_dir(profile)) / "claims").glob("*.json"))
    rows = [
        _facts(row) | {"notebook": file.stem, "command": command(row)}
        for file in files for row in load(file)
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=COLUMNS)
    if unknown := sorted(set(table["claim"]) - set(CLAIMS)):
        raise ValueError(f"unknown claim {unknown[0]!r}; allowed are {', '.join(CLAIMS)}")
    return table.sort_values("claim", key=lambda names: names.map(list(CLAIMS).index), kind="stable", ignore_index=True)


def _facts(row: Row) -> dict:
    return asdict(row) | {"low": row.low, "high": row.high}


def missing(table: pd.DataFrame) -> list[str]:
    """The claims of which no notebook has said anything yet."""
    return [claim for claim in CLAIMS if claim not in set(table["claim"])]


def asked(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """A claim's rows by what was asked, in the order of the notebooks."""
    return dict(iter(rows.groupby(rows["asks"].where(rows["asks"] != "", rows["part"]), sort=False)))


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """How many verdicts of each kind that occurs, a row per claim."""
    found = pd.crosstab(table["claim"], table["verdict"])
    return found.reindex(index=[c for c in CLAIMS if c in found.index], columns=[w for w in WORDS if w in found])


def number(row: Mapping) -> str:
    """The row's value with its interval; where the data do not bound a number, it is infinite."""
    return (
        "no number"
        if pd.isna(row["low"])
        else f"{_plain(row['value'])} ({_plain(row['low'])} to {_plain(row['high'])})"
    )


def _plain(value: float) -> str:
    return "\N{INFINITY}" if pd.isna(value) else f"{value:.2f}"


def markdown_table(table: pd.DataFrame) -> str:
    """A table in Markdown, as it is."""
    rows = [table.columns, ["---"] * table.shape[1], *table.to_numpy()]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


# How one line sums up several rows: *all* of them are counted, and where they disagree it says how many say what; those
# that are not testable are counted apart, and give no number. The number is that of one question, named in the registry
# before the runs (`lead`, or the claim's first that is testable): of all its rows, from the least to the greatest, so
# that no row is chosen for what it says.


def share(rows: pd.DataFrame) -> str:
    """The verdict of all rows, or how many of them hold."""
    if rows["verdict"].nunique() == 1:
        return rows["verdict"].iloc[0]
    positive = OWN_WORDS[REPRODUCED] if CLAIMS[rows["claim"].iloc[0]].own else REPRODUCED
    return f"{(rows['verdict'] == positive).sum()} of {len(testable(rows))} {positive}"


def testable(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows whose claim can be judged here; all of them if there is none."""
    return found if len(found := rows[rows["verdict"] != NOT_TESTABLE]) else rows


SHORT = {NOT_SEEN: "not seen", NOT_TESTABLE: "not testable"}  # where "at this scale" stands above


def tally(rows: pd.DataFrame) -> str:
    """The same, and what the others say."""
    found = rows["verdict"].value_counts()
    if len(found) == 1:
        return share(rows) + (f" (all {len(rows)})" if len(rows) > 1 else "")
    others = [
        f"{found[word]} {SHORT.get(word, word)}" for word in WORDS if word in found and kind_of(word) != REPRODUCED
    ]
    return f"{share(rows)} ({', '.join(others)})"


def seen(rows: pd.DataFrame) -> str:
    """The tally in bold and, of a claim that asks several things, what became of each."""
    groups, disagree = asked(rows), rows["verdict"].nunique() > 1
    parts = [f"{asks} {_brief(group)}" if disagree else asks for asks, group in groups.items()]
    return f"**{tally(rows)}**" + (f": {'; '.join(parts)}" if len(parts) > 1 else "")


def _brief(rows: pd.DataFrame) -> str:
    rows = testable(rows)
    if set(rows["verdict"]) == {NOT_TESTABLE}:
        return SHORT[NOT_TESTABLE]
    yes = (rows["verdict"].map(kind_of) == REPRODUCED).sum()
    return f"{yes} of {len(rows)}" if len(rows) > 1 else rows["verdict"].iloc[0]


def leading(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the one thing asked whose number stands for the claim."""
    groups = asked(testable(rows))
    return groups.get(CLAIMS[rows["claim"].iloc[0]].lead, next(iter(groups.values())))


def measured(rows: pd.DataFrame) -> str:
    """The leading rows' number with its unit, and where the claim has it."""
    rows = leading(rows)
    unit, supports = rows[["unit", "supports"]].iloc[0]
    value = number(rows.iloc[0])
    if len(rows) > 1:
        value = f"{_plain(rows['value'].min())} to {_plain(rows['value'].max())} in {len(rows)} comparisons"
    return f"{unit} {value}; claimed: {supports}".lstrip()


def runs(rows: pd.DataFrame) -> str:
    """How many runs are behind each of the leading rows."""
    least, most = leading(rows)["n"].agg(["min", "max"])
    return f"{least}" if least == most else f"{least} to {most}"


def line(claim: str, rows: pd.DataFrame) -> str:
    """A claim's line of the scorecard, in Markdown."""
    name = f"[{claim}](figures/claims/{claim}.md)"
    ours = " *(ours)*" if CLAIMS[claim].own else ""
    return f"| {name} | {CLAIMS[claim].short}{ours} | {seen(rows)} | {measured(rows)} | {runs(rows)} |"


def conclusion(rows: Sequence[Row], profile: str) -> str:
    """What a notebook's rows say, a line per claim, in Markdown."""
    placed = [at_scale(row, profile) for row in rows]
    table = pd.DataFrame(map(_facts, placed), columns=COLUMNS)
    lines = [
        f"- **{claim}**, that {CLAIMS[claim].short}: {seen(part)}; {measured(part)}."
        for claim, part in table.groupby("claim", sort=False)
    ]
    return "\n".join(["**What the runs say:**", "", *lines])


def markdown(table: pd.DataFrame) -> str:
    """The scorecard in Markdown: a table of the paper's claims, and one of what is beyond it."""
    head = "| | {} | at this scale | number (95 % interval) | runs |\n|---|---|---|---|---|"
    lines = {claim: line(claim, rows) for claim, rows in table.groupby("claim", sort=False)}
    paper = [text for claim, text in lines.items() if claim in PAPER]
    beyond = [text for claim, text in lines.items() if claim not in PAPER]
    return "\n".join([head.format("the paper's claim"), *paper, "", head.format("beyond the paper"), *beyond])


def findings(table: pd.DataFrame) -> str:
    """What became of the paper's claims, in two sentences: the ones seen, also in part, and the others."""
    whole, part, none = [], [], []
    for claim, rows in table[table["claim"].isin(PAPER)].groupby("claim", sort=False):
        holds = {asks: set(testable(group)["verdict"]) == {REPRODUCED} for asks, group in asked(rows).items()}
        yes, no = ([asks for asks, whether in holds.items() if whether is wanted] for wanted in (True, False))
        words = f"that {CLAIMS[claim].short} ({claim}"
        if not (rows["verdict"] == REPRODUCED).any():
            none.append(f"{words})")
        elif no:
            part.append(f"{words}: {', '.join(yes) or 'one of its parts, in part'}; not {', '.join(no)})")
        else:
            whole.append(f"{words})")
    profile = table["profile"].iloc[0]
    return (
        f"At profile `{profile}` we see {_listed(whole)}; and in part {_listed(part)}.\n"
        f"We do not see, or cannot decide, {_listed(none)}."
    )


def headline(table: pd.DataFrame) -> str:
    """How many of the verdicts that can be judged here hold, of the paper's claims, or of those that are there."""
    paper = table[table["claim"].isin(PAPER)]
    rows = testable(paper if len(paper) else table)
    kinds = rows["verdict"].map(kind_of).value_counts()
    of, lacking = ("the paper's claims", NOT_SEEN) if len(paper) else ("these claims", OWN_WORDS[NOT_REPRODUCED])
    yes, no, left = (kinds.get(kind, 0) for kind in (REPRODUCED, NOT_REPRODUCED, UNDECIDED))
    return f"{yes} of {len(rows)} verdicts on {of} hold here, {no} do not, {left} are undecided"


def times(table: pd.DataFrame) -> pd.DataFrame:
    """The comparable numbers of the paper's claims: each fix's mean time to the jump over softmax's, by setting.

    Rows of the table with two columns more: the fix's ``method``, a name in the registry, and its ``setting``.
    """
    rows = table[table["claim"].isin(PAPER) & table["asks"].str.startswith("earlier")]
    fixes = {method.fix: name for name, method in METHODS.items() if method.fix}
    # "fix (regime)" where the rule judges regimes, else "task (size)"
    about = rows["about"].astype(str).str.extract(r"([^(]*?)(?: \((.*)\))?$")
    named = rows["part"].isin(fixes)
    fix, setting = rows["part"].where(named, about[0]), about[0].where(named, about[1])
    return rows.assign(method=fix.map(fixes).fillna(fix), setting=setting)


def _listed(clauses: list[str]) -> str:
    return "; ".join(clauses) or "nothing"


BLOCKS = {"findings": findings, "scorecard": markdown}  # of the README


def marks(block: str) -> tuple[str, str]:
    """The lines between which a block stands."""
    return f"<!-- {block}: written by notebook 15 -->", f"<!-- end of the {block} -->"


def into(text: str, table: pd.DataFrame) -> str:
    """A page's ``text`` with each block between its two marks; ValueError if it does not have them."""
    for block, write in BLOCKS.items():
        begin, end = marks(block)
        pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"the page has no place for the {block}: it needs the lines {begin} and {end}")
        before, after = pattern.split(text, maxsplit=1)
        text = f"{before}{begin}\n{write(table)}\n{end}{after}"
    return text


def write_readme(table: pd.DataFrame, profile: str) -> str:
    """Write the findings and the scorecard into the README, and say what was done.

    Only the laptop's verdicts, only into the checkout whose figures they are, and only if all claims are judged.
    """
    if profile != paths.DEFAULT_PROFILE or paths.figures_dir(profile) != paths.ROOT / "figures":
        return f"README.md is left alone: it holds the verdicts of profile {paths.DEFAULT_PROFILE} in figures/"
    if lacking := missing(table):
        return f"README.md is left alone: {', '.join(lacking)} not judged yet; ./run_all.sh runs all notebooks"
    readme = paths.ROOT / "README.md"
    before = readme.read_text()
    after = into(before, table)
    if after == before:
        return "README.md has these verdicts already"
    paths.write_atomically(readme, after.encode())
    return "README.md now has these verdicts"
