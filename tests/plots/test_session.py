"""A reader's session: an error of a value is one line, its traceback folded, and still an error; pictures are sharp."""

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from eureka_lib.plots import session


@pytest.fixture
def shell(monkeypatch):
    monkeypatch.delenv("EUREKA_HEADLESS", raising=False)
    shell = InteractiveShell.instance()
    yield shell
    shell.set_custom_exc((), None)
    InteractiveShell.clear_instance()


def run(shell, cell):
    with capture_output() as shown:
        result = shell.run_cell(cell)
    folded = [output.data["text/html"] for output in shown.outputs if "text/html" in output.data]
    return result.error_in_exec, shown.stdout, folded


@pytest.mark.parametrize("headless", [False, True])
def test_one_line_and_the_rest_folded(shell, monkeypatch, headless):
    if headless:
        monkeypatch.setenv("EUREKA_HEADLESS", "1")
    session.prepare()
    error, said, folded = run(shell, "from eureka_lib.validation import check_whole\ncheck_whole('seeds', 2e3)")
    assert isinstance(error, TypeError) and "did you mean 2000?" in said
    assert bool(folded) != headless and ("Traceback" in said) == headless
    if folded:
        assert said.strip().count("\n") == 0 and "<details>" in folded[0] and "check_whole" in folded[0]


def test_other_errors_are_as_ever(shell):
    session.prepare()
    error, said, folded = run(shell, "1 / 0")
    assert isinstance(error, ZeroDivisionError) and "Traceback" in said and not folded


@pytest.mark.parametrize("headless", [False, True])
def test_pictures_are_sharp_where_somebody_looks_on(shell, monkeypatch, headless):
    asked = []
    monkeypatch.setattr(session, "set_matplotlib_formats", asked.append)
    if headless:
        monkeypatch.setenv("EUREKA_HEADLESS", "1")
    session.prepare()
    assert asked == ([] if headless else ["retina"])
