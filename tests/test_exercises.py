"""The notebooks' exercises: a solution passes, the stub is still to do, and a usual mistake is told what is off."""

import ast
import re

import nbformat
import pytest
from nbclient import NotebookClient

from eureka_lib import exercises, paths

BOOKS = {
    path.stem: {cell.id: cell.source for cell in nbformat.read(path, as_version=4).cells}
    for path in sorted(paths.NOTEBOOKS.glob("*.ipynb"))
}
WITH = [name for name, cells in BOOKS.items() if "exercise" in cells]
MISTAKES = {
    "00_start_here": {
        "return 1 / 2, log(2)": "no guess is wrong",
        "return 1 / k + (1 - 1 / k) / 2, log(2)": "no doubt, and no loss",
        "a = 1 / k + (1 - 1 / k) / 2; return a, -log(a)": "not the logarithm of a mean",
        "return 1 / k, log(k)": "for k = 2 it should be",
        "return 'five'": "yours gives 'five'",
    },
    "01_the_eureka_moment": {
        "return 1 - sum(happened) / len(steps)": "nobody knows that",
        "return 0": "left out, or taken for EMs",
    },
    "02_it_takes_two_steps": {
        "return 1 / k + (1 - 1 / k) / 2, (1 - 1 / k) * log(2)": "one of the targets likelier",
        "m = (1 + copied) / 2; return 1 / k + (1 - 1 / k) * m, (1 - 1 / k) * log(2)": "and the loss knows",
        "m = copied; n = 1 - m; return 1 / k + (1 - 1 / k) * m, -(1 - 1 / k) * (m * log(m) + n * log(n))": "drawn anew",
    },
    "03_temperature": {
        "return 1 / solution(logits, entropy)": "that is the temperature",
        "return solution(logits, entropy / log(len(logits)))": "not in nats",
        "return 1.0": "for logits = [ 2. ,  1. ,  0.5,  0. , -1.5], entropy = 0.9 it should be",
    },
    "04_norm_softmax": {
        "return solution(z, scale, visible | True)": "hidden keys get weight",
        "s = torch.minimum(z.std(correction=0), 1 / scale); return torch.softmax("
        "(z / s).masked_fill(~visible, -torch.inf), -1)": "the visible keys alone",
        "s = torch.minimum(z[visible].std(), 1 / scale); return torch.softmax("
        "(z / s).masked_fill(~visible, -torch.inf), -1)": "not by one less",
        "return solution(z, 0 * scale, visible)": "at most 1/s",
        "return torch.softmax((z * scale).masked_fill(~visible, -torch.inf), -1)": "the plain softmax",
    },
    "05_the_fixes_compared": {
        "a, b = ([t for t in times if t] or [budget] for times in (fix, softmax)); "
        "return sum(a) / len(a) / (sum(b) / len(b))": "are left out",
        "return solution(softmax, fix, budget)": "the fix stands above",
    },
    "06_robustness": {
        "return solution(fix, softmax) / 2": "as far below zero",
        "from itertools import combinations; x = [*fix, *softmax]; "
        "far = [abs(sum(some) - sum(x) / 2) for some in combinations(x, len(fix))]; "
        "return sum(d >= abs(sum(fix) - sum(x) / 2) for d in far) / len(far)": "the cells are pairs",
    },
    "07_where_the_gradient_goes": {
        "return scale * (torch.softmax(scale * k @ q, -1) * a) @ k": "not centred",
        "return solution(q, k, a, scale) / scale": "the factor s is missing",
        "return scale * (a - a.mean()) @ k / len(a)": "the weights are not even",
        "return q.clone().requires_grad_() * 2": "for q = [ 0.3, -0.8], k = [[",
    },
    "08_what_the_network_knows": {
        "return rng.permutation(y)": "different labels",
        "return solution(types, [0, 1], rng)": "% of your labels are 1",
        "return y": "know the real ones",
        "return y[:5]": "one for each sample",
    },
    "exercise_attention": {
        "return torch.softmax(logits * scale, -1)": "softmax itself",
        "return torch.softmax(logits * scale, -2)": "do not sum to 1",
        "return torch.sigmoid(logits)": "do not sum to 1",
        "return logits / logits.sum(-1, keepdim=True)": "not numbers",
        "w = (logits == logits.amax(-1, keepdim=True)) * 1.0; return w / w.sum(-1, keepdim=True)": "no gradient",
        "w = torch.softmax(logits, -1).cumsum(-1); return w / w.sum(-1, keepdim=True)": "order of the keys",
        "return torch.softmax(logits / logits.std(-1, keepdim=True), -1)": "not numbers",
        "return torch.softmax(logits, -1) * 2 - 1 / 6": "are negative",
        "return torch.softmax(logits / (logits.var(-1, keepdim=True).sqrt() + 1e-6), -1)": "gradient is not a number",
        "return torch.softmax(logits, -1)[0]": "of that shape",
    },
}  # fmt: skip


def imports_of(name):
    """The names that a notebook imports, and what the exercises' short answers here need."""
    tree = ast.parse(BOOKS[name]["imports"])
    lines = [ast.unparse(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {}
    exec("\n".join([*lines, "import torch", "from math import log"]), names)
    return names


def solution_of(name):
    (code,) = re.findall(r"```python\n(.*?)```", BOOKS[name]["solution"], re.DOTALL)
    return code


def told(name, code, capsys):
    """What the notebook's check says if ``code`` stands in the stub's place."""
    names = imports_of(name)
    exec(code, names)
    capsys.readouterr()
    exec(BOOKS[name]["exercise-check"], names)
    return capsys.readouterr().out.strip()


def test_the_first_nine_notebooks_have_an_exercise_and_so_has_the_lesson():
    assert [name[:2] for name in WITH[:-1]] == [f"{n:02}" for n in range(9)] and WITH[-1] == "exercise_attention"
    assert MISTAKES.keys() == {*WITH}


@pytest.mark.parametrize("name", WITH)
def test_its_cells_are_tagged_and_in_order_and_the_solution_is_folded(name):
    cells = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
    tags = {cell.id: cell.metadata.get("tags") for cell in cells if "exercise" in cell.id or cell.id == "solution"}
    wanted = {"exercise-text": None, "exercise": ["exercise"], "exercise-check": ["check"], "solution": ["solution"]}
    assert list(tags.items()) == list(wanted.items())
    assert BOOKS[name]["solution"].startswith("<details><summary><b>Solution</b></summary>\n\n")
    assert BOOKS[name]["solution"].count("details>") == 2 and BOOKS[name]["solution"].endswith("\n</details>")


@pytest.mark.parametrize("name", WITH)
def test_the_solution_is_right(name, capsys):
    assert told(name, solution_of(name), capsys) == exercises.RIGHT


@pytest.mark.parametrize("name", WITH)
def test_the_stub_is_still_to_do_and_so_is_an_answer_without_a_return(name, capsys):
    stub = BOOKS[name]["exercise"]
    assert told(name, stub, capsys) == exercises.TO_DO
    assert told(name, stub.replace("return ...", "pass"), capsys) == exercises.TO_DO


@pytest.mark.parametrize(("name", "code"), [(name, code) for name, codes in MISTAKES.items() for code in codes])
def test_a_usual_mistake_is_told_what_is_off(name, code, capsys):
    function = re.findall(r"def (\w+)", BOOKS[name]["exercise"])[0]
    solved = f"{solution_of(name)}\nsolution = {function}\n"
    said = told(name, solved + BOOKS[name]["exercise"].replace("return ...", code), capsys)
    assert said.startswith("Not yet: ") and MISTAKES[name][code] in said, said


def test_an_attention_of_ones_own_is_trained_and_compared():
    notebook = nbformat.read(paths.NOTEBOOKS / "exercise_attention.ipynb", as_version=4)
    cells = {cell.id: cell for cell in notebook.cells}
    cells["exercise"].source = solution_of("exercise_attention")
    where = {"metadata": {"path": paths.NOTEBOOKS}}
    NotebookClient(notebook, kernel_name="python3", timeout=600, resources=where).execute()
    assert "10/10 done, 0 failed" in "".join(out.get("text", "") for out in cells["run"].outputs)
    table = cells["table"].outputs[0].data["text/plain"]
    assert re.search(r"method +softmax +mine\n", table) and re.search(r"time / softmax's +\d\.\d+ \(", table), table
