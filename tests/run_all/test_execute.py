"""The runner, on small notebooks made here: what runs, what is skipped, what is reported, and that nothing survives."""

import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from eureka_lib import paths
from eureka_lib.experiments import profiles
from eureka_lib.run_all import jobs, many
from eureka_lib.run_all.__main__ import Request, parse, run
from eureka_lib.run_all.jobs import Outcome
from eureka_lib.run_all.one import execute as execute_notebook
from eureka_lib.run_all.surroundings import secluded

PARAMETERS = 'profile: str = "auto"  # scale\nsteps: int = 0  # 0: as many as the profile says\nname: str = "a"'


def write_notebook(path: Path, *sources: str, parameters: str = PARAMETERS) -> Path:
    """A notebook of a title, a parameters cell and a code cell for each source."""
    path.parent.mkdir(exist_ok=True)
    tagged = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    cells = [new_markdown_cell("# Title"), tagged, *map(new_code_cell, sources)]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def execute(tmp_path: Path, *extra: str, **options) -> tuple[int, str]:
    """Exit status and text of a run of all notebooks in ``tmp_path/notebooks``."""
    planned = jobs.plan(jobs.find_notebooks(tmp_path / "notebooks"), tmp_path / "figures", "smoke", extra)
    stream = io.StringIO()
    status = run(Request(planned, options.get("workers", 1), options.get("force", False), {}), stream)
    return status, stream.getvalue()


@pytest.fixture
def job(tmp_path) -> jobs.Job:
    """A notebook that does nothing, not executed yet."""
    source = write_notebook(tmp_path / "notebooks" / "01_small.ipynb", "1 + 1")
    return jobs.plan({"01_small": source}, tmp_path / "figures", "smoke")[0]


# --- With kernels ----------------------------------------------------------------------------------------------------


def test_failure_is_reported_others_run_and_a_rerun_continues(tmp_path):
    figures = tmp_path / "figures" / "played"  # as steps are given
    draw = f"open({str(figures / '01_a.txt')!r}, 'w').write(f'{{profile}} {{steps}}')"
    write_notebook(tmp_path / "notebooks" / "01_good.ipynb", draw)
    write_notebook(tmp_path / "notebooks" / "02_bad.ipynb", "open('mended')  # a file beside this one", "'reached'")

    status, text = execute(tmp_path, "steps=3", workers=2)
    assert status == 1
    reason = "cell 3 `open('mended') # a file beside this one`: FileNotFoundError"
    assert "[2/2] 02_bad  FAILED after " in text and text.count(reason) == 2  # at once, and in the summary
    assert "1 of 2 failed" in text
    assert (figures / "01_a.txt").read_text() == "smoke 3"
    assert (figures / "notebooks" / "01_good.html").exists()
    assert "FileNotFoundError" in (figures / "notebooks" / "02_bad.html").read_text()
    record = json.loads((figures / "notebooks" / "01_good.json").read_text())
    assert set(record["artefacts"]) == {"01_a.txt", "notebooks/01_good.html"}
    assert not (figures / "notebooks" / "02_bad.json").exists()

    (tmp_path / "notebooks" / "mended").touch()
    status, text = execute(tmp_path, "steps=3")
    assert status == 0
    assert "01_good  up to date" in text and "--force" in text
    assert "02_bad  starts (not finished before)" in text and "02_bad  ok in" in text


def test_killed_kernel_is_a_failure(tmp_path):
    beat = "import subprocess; subprocess.Popen(['bash', '-c', 'while sleep 0.1; do echo >> beat; done'])"
    source = write_notebook(tmp_path / "nb" / "01_killed.ipynb", beat, "import os\nos.kill(os.getpid(), 9)")
    (killed,) = jobs.plan({"01_killed": source}, tmp_path / "figures", "smoke")
    outcome = execute_notebook(killed, tmp_path)
    assert outcome.status == "FAILED" and outcome.error.startswith("cell 4 `import os`: DeadKernelError")
    assert not killed.product(".json").exists()
    assert "DeadKernelError" in killed.product(".html").read_text()
    assert not _grows(source.parent / "beat")  # nor is the dead kernel's worker left


def _grows(file: Path) -> bool:
    before = file.stat().st_size
    time.sleep(0.7)
    return file.stat().st_size > before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopping_the_run_stops_the_kernels(tmp_path, number):
    beat = "import time\nwhile True:\n    open('beat', 'a').write('.')\n    time.sleep(0.1)"
    source = write_notebook(tmp_path / "notebooks" / "01_endless.ipynb", beat)
    program = f"""
import sys; from pathlib import Path
from eureka_lib.run_all import __main__ as cli, jobs
planned = jobs.plan({{"01_endless": Path({str(source)!r})}}, Path({str(tmp_path / "figures")!r}), "smoke")
cli._let_signals_stop()
sys.exit(cli.run(cli.Request(planned, 1, False, {{}}), sys.stdout))
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=paths.ROOT, stdout=subprocess.PIPE, text=True)
    beats = source.parent / "beat"
    deadline = time.monotonic() + 60
    while not beats.exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    text, _ = process.communicate(timeout=30)
    if number == signal.SIGTERM:
        assert process.returncode == 128 + signal.SIGTERM and "The same command continues" in text
    time.sleep(0.3)
    assert not _grows(beats)


def test_nothing_of_ours_opens_jupyter_to_others():
    """None of our files tells a server to listen elsewhere than here, or to drop its token."""
    opening = re.compile("--ip|0\\.0\\.0\\.0|ServerApp|NotebookApp|IdentityProvider|allow_remote|\\.token *=")
    harmless = re.compile("--ip=127\\.0\\.0\\.1|--ServerApp\\.root_dir=|ip_given = .*")  # what lab.py says
    files = [paths.ROOT / "run_all.sh", paths.ROOT / ".ci" / "run", paths.ROOT / "README.md"]
    for file in [*files, *(paths.ROOT / "eureka_lib").rglob("*.py"), *paths.NOTEBOOKS.glob("*.ipynb")]:
        assert not opening.search(harmless.sub("", file.read_text())), file


# --- What is up to date ----------------------------------------------------------------------------------------------


def finish(job: jobs.Job) -> None:
    """Leave what a successful execution leaves."""
    job.products.mkdir(parents=True)
    (job.figures / "claims").mkdir(exist_ok=True)
    for path in (job.product(".html"), job.figures / "01_a.png", job.claims / f"{job.name}.json"):
        path.write_text("something")
    jobs.write_record(job, jobs.ingredients(job), 1.5)


def test_up_to_date(job):
    assert jobs.why_run(job) == "not finished before"
    finish(job)
    assert jobs.why_run(job) is None
    notebook = nbformat.read(job.source, 4)  # a look at it in Jupyter changes outputs and counters, which do not matter
    notebook.cells[2].execution_count = 7
    nbformat.write(notebook, job.source)
    assert jobs.why_run(job) is None


def test_why_a_notebook_runs_again(job, monkeypatch, tmp_path):
    finish(job)
    figure, claims = job.figures / "01_a.png", job.figures / "claims" / "01_small.json"
    figure.write_text("something else")
    assert jobs.why_run(job) == "01_a.png was changed"
    figure.write_text("something")
    claims.unlink()
    assert jobs.why_run(job) == "claims/01_small.json is missing"
    claims.write_text("something")
    assert jobs.why_run(dataclasses.replace(job, parameters={"profile": "smoke", "steps": 3})) == "parameters changed"
    with monkeypatch.context() as patched:
        patched.setattr(jobs.paths, "ROOT", tmp_path)
        assert jobs.why_run(job) == "library changed"
    write_notebook(job.source, "1 + 2")
    assert jobs.why_run(job) == "notebook changed"
    job.product(".json").write_text('{"half')
    assert jobs.why_run(job) == "not finished before"


def test_what_is_played_has_a_folder_and_a_record_of_its_own(job):
    def plan(*extra):
        (planned,) = jobs.plan({job.name: job.source}, job.figures, "smoke", extra)
        return planned

    finish(job)
    played = plan("steps=3")
    assert played.played == {"steps": 3} and played.products == job.figures / "played" / "notebooks"
    assert played.claims == job.claims and jobs.why_run(played) == "not finished before"
    finish(played)
    assert jobs.why_run(played) is None and jobs.why_run(plan("steps=4")) == "parameters changed"
    assert jobs.why_run(job) is None
    text = many.summary([job, played], [])
    assert text.count("was played with steps=3: figures in ") == 1 and "no claims kept" in text
    (job.source.parent / "defaults.json").write_text('{"01_small": {"steps": 0, "name": "a"}}')
    assert plan().played == {} and plan("name=a").played == {}
    write_notebook(job.source, "1 + 1", parameters=PARAMETERS.replace('"a"', '"b"'))  # edited and saved
    assert plan().played == {"name": "b"} and plan("name=a").played == {}


@pytest.fixture
def at_a_time(monkeypatch) -> list[int]:
    """Has threads in place of workers, which only say how many of them there are."""
    there, counts = [], []

    def work(job, scratch):
        there.append(job)
        counts.append(len(there))
        time.sleep(0.3)
        there.remove(job)
        return Outcome(job.name, "ok", 1.0)

    monkeypatch.setattr("eureka_lib.experiments.pools.Workers", ThreadPoolExecutor)
    monkeypatch.setattr(many, "_work", work)
    return counts


def test_a_notebook_of_others_claims_runs_last_and_again_when_they_change(tmp_path, at_a_time):
    source = write_notebook(tmp_path / "notebooks" / "01_score.ipynb")
    notebook = nbformat.read(source, 4)
    notebook.cells.append(new_code_cell("read()", metadata={"tags": ["claims"]}))
    nbformat.write(notebook, source)
    write_notebook(tmp_path / "notebooks" / "02_other.ipynb")
    status, text = execute(tmp_path, workers=2)
    assert status == 0 and text.index("02_other  ok") < text.index("01_score  starts")

    (job,) = jobs.plan({"01_score": source}, tmp_path / "figures", "smoke")
    finish(job)
    assert jobs.why_run(job) is None
    (job.figures / "claims" / "02_other.json").write_text("[]")
    assert jobs.why_run(job) == "claims of other notebooks changed"


def test_force_and_jobs(tmp_path, at_a_time, job):
    for name in ("02_b", "03_c"):
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb")
    finish(job)
    status, text = execute(tmp_path, workers=2)
    assert status == 0 and max(at_a_time) == 2
    assert "up to date  01_small" in text and "ok          02_b" in text
    status, text = execute(tmp_path, force=True)
    assert "01_small  starts (--force)" in text and "up to date" not in text
    assert text.count("starts") == 3 and text.index("02_b  starts") > text.index("01_small  ok in 0:01")


def test_a_lost_worker_fails_its_notebook_alone(tmp_path, monkeypatch):
    def work(job, scratch):
        if job.name == "01_a":
            os.kill(os.getpid(), signal.SIGKILL)
        return Outcome(job.name, "ok", 1.0)

    monkeypatch.setattr(many, "_work", work)
    for name in ("01_a", "02_b"):
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb")
    status, text = execute(tmp_path)
    assert status == 1 and re.search(r"FAILED      01_a +(0:\d\d +)?TerminatedWorkerError: .*SIGKILL", text)
    assert "ok          02_b" in text


def test_unreadable_notebook_fails_alone(tmp_path):
    (tmp_path / "01_torn.ipynb").write_text("{")
    (torn,) = jobs.plan({"01_torn": tmp_path / "01_torn.ipynb"}, tmp_path / "figures", "smoke")
    outcome = execute_notebook(torn, tmp_path)
    assert outcome.status == "FAILED" and "JSON" in outcome.error


# --- The command line ------------------------------------------------------------------------------------------------


def test_profiles_are_those_of_the_library():
    assert set(jobs.PROFILES) == set(profiles.PROFILES)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A notebooks folder with two notebooks."""
    write_notebook(tmp_path / "notebooks" / "01_first.ipynb")
    write_notebook(tmp_path / "notebooks" / "02_second.ipynb", parameters='profile: str = "auto"')
    return tmp_path / "notebooks"


@pytest.mark.parametrize("words", [["01"], ["1"], ["01_first"], ["01_first.ipynb"], ["notebooks/01_first.ipynb"]])
def test_names_of_notebooks(folder, words):
    assert [job.name for job in parse(words, folder).jobs] == ["01_first"]


def test_good_command_lines(folder):
    everything = parse([], folder)
    assert [job.name for job in everything.jobs] == ["01_first", "02_second"]
    assert everything.jobs[0].profile == "laptop" and everything.workers == 1 and not everything.force
    request = parse(["paper", "--jobs", "3", "01", "--force", "-p", "steps=3", "--parameter", "name=07"], folder)
    assert request.workers == 3 and request.force
    assert request.jobs[0].parameters == {"profile": "paper", "steps": 3, "name": "07"}
    assert everything.jobs[0].figures == paths.figures_dir("laptop").resolve() and not everything.jobs[0].played
    assert request.jobs[0].figures == paths.figures_dir("paper").resolve() / "played"
    assert not request.environment
    assert parse(["smoke"], folder).workers == 2
    request = parse(["--scheduler", "tcp://login1:8786", "--per-task", "GPU=1"], folder)
    assert request.environment == {"EUREKA_SCHEDULER": "tcp://login1:8786", "EUREKA_PER_TASK": "GPU=1"}


def test_released_runs_are_audited_beside_all_notebooks_of_the_laptop_alone(folder):
    assert parse([], folder).audit
    for words in (["--no-audit"], ["--fresh"], ["01"], ["smoke"], ["01", "-p", "steps=3"]):
        assert not parse(words, folder).audit, words


def test_fresh_has_a_store_of_its_own_and_nothing_under_it(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("EUREKA_STORE", str(tmp_path / "runs"))
    request = parse(["01", "--fresh"], folder)
    assert request.force
    (name,) = {*request.environment.values()}
    assert {*request.environment} == {"EUREKA_STORE", "EUREKA_RELEASED"}
    assert Path(name).parent == tmp_path / "runs" / "fresh" and not Path(name).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--profile", "papre"], "unknown profile 'papre': allowed are laptop, paper, smoke; did you mean 'paper'?"),
        (["papre"], "unknown notebook or profile 'papre'"),
        (["smoke", "--profile", "paper"], "one profile at a time, got paper and smoke"),
        (["01_frist"], "did you mean '01_first'?"),
        (["/elsewhere/01_first.ipynb"], "'/elsewhere/01_first.ipynb' is not one of this project's notebooks"),
        (["--jobs", "0"], "--jobs must be a whole number >= 1, got 0; the nearest valid value is 1"),
        (["--jobs", "-2"], "--jobs must be a whole number >= 1, got -2"),
        (["--jobs", "two"], "--jobs must be a whole number >= 1, got 'two'"),
        (["--forse"], "unknown option '--forse'"),
        (["01", "-p", "step=3"], "'step': allowed are name, steps; did you mean 'steps'?"),
        (["01", "-p", "steps=many"], "'steps' of 01_first must be of type int, got 'many' of type str"),
        (["01", "-p", "steps"], "NAME=VALUE"),
        (["02", "-p", "steps=3"], "02_second has no parameters but the profile"),
        (["01", "-p", "profile=paper"], "use --profile"),
        (["--scheduler", "login1:8786"], "a scheduler's address is like tcp://login1:8786 or tls://login1:8786"),
        (["--scheduler", "tcp://login1:8786", "--per-task", "GPU"], "given like GPU=1 or GPU=1,MEMORY=16e9, got 'GPU'"),
        (["--per-task", "GPU=1"], "it needs --scheduler"),
    ],
)
def test_mistakes(folder, capsys, words, message):
    with pytest.raises(SystemExit) as exit_:
        parse(words, folder)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_a_mistake_through_the_real_command_without_an_environment():
    """By the standard library alone (-S): run_all.sh asks before it makes an environment."""
    command = [sys.executable, "-S", "-m", "eureka_lib.run_all", "--check", "01", "-p", "no_such=1"]
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("run_all.sh: ") and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("declaration", "text", "value"),
    [
        ("x: float = 0.1", "3", 3),
        ("x: float = 0.1", "1e-4", 1e-4),
        ("x: list[int] = [0]  # n=1", "[1]", [1]),
        ("x: dict = {}", '{"a": null, "b": true}', {"a": None, "b": True}),
        ("x: bool = False", "true", True),
        ("x: str = 'a'", "12", "12"),
        ("x: int | None = None", "anything", "anything"),
        ("x: int = 1", "true", TypeError),
        ("x: int = 1", "0.5", TypeError),
        ("x: str = 'a'\ny = 2", "[1]", "[1]"),
        ("x: list = [0]", "0", TypeError),
    ],
)
def test_parameter_values(tmp_path, declaration, text, value):
    notebook = write_notebook(tmp_path / "01_x.ipynb", parameters=declaration)
    if value is TypeError:
        with pytest.raises(TypeError, match="parameter 'x' of 01_x must be of type"):
            jobs.check_parameter(notebook, "x", text)
    else:
        assert jobs.check_parameter(notebook, "x", text) == value


# --- What a person sees ----------------------------------------------------------------------------------------------


def test_a_log_gets_few_lines(job, monkeypatch):
    monkeypatch.setattr(many, "LINE_EVERY", 1000)
    stream = io.StringIO()
    with many.Display([job], stream) as shown:
        shown.say(job, "starts")
        shown.show({job.name: "cell 1/2"}, "time left not known yet")
        assert stream.getvalue() == "[1/1] 01_small  starts\n"  # too early for another line
        monkeypatch.setattr(many, "LINE_EVERY", 0)
        for number in (1, 1, 2):
            shown.show({job.name: f"cell {number}/2"}, "about 0:05 left")
    one = "0:00 so far, about 0:05 left | 01 cell 1/2"
    assert stream.getvalue().splitlines()[1:] == [one, one.replace("1/2", "2/2")]


def test_a_terminal_gets_one_line_that_is_redrawn(job, monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setenv("TERM", "xterm")
    with many.Display([job], stream) as shown:
        for number in (1, 2):
            shown.show({job.name: f"cell {number}/2"}, "about 0:05 left")
        shown.say(job, "ok in 0:01")
    assert "\r0:00 so far, about 0:05 left | 01 cell 2/2" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1 and "[1/1] 01_small  ok in 0:01\n" in stream.getvalue()


def test_time_left_says_what_it_does_not_know():
    assert many.time_left([(None, 0.0)], 1) == "time left not known yet"
    assert many.time_left([(1.5, 0.0), (1.5, 0.0)], 1) == "about 0:03 left"
    assert many.time_left([(5.0, 1.0), (None, 0.0)], 1) == "about 0:04 left, and 1 not executed before"
    assert many.time_left([(5.0, 1.0), (1.0, 2.0)], 2) == "about 0:02 left"


def test_relative_folders_are_the_callers(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EUREKA_FIGURES", "elsewhere")
    monkeypatch.setenv("EUREKA_STORE", "~/runs")
    environment = secluded(os.environ, tmp_path)
    assert environment["EUREKA_FIGURES"] == os.path.join(os.getcwd(), "elsewhere")
    assert environment["EUREKA_STORE"] == str(Path.home() / "runs") == str(paths.store_dir())
