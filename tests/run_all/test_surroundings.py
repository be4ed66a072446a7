"""Nothing in a person's shell, home folder or place changes a result in silence."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from test_execute import execute, write_notebook

from eureka_lib import paths, provenance
from eureka_lib.plots.style import use_style
from eureka_lib.run_all import lab, surroundings
from eureka_lib.run_all.__main__ import _let_signals_stop, main
from eureka_lib.run_all.jobs import find_notebooks
from eureka_lib.run_all.surroundings import check_names, secluded, shielded
from eureka_lib.store import RunStore

# --- Shell and configuration files -----------------------------------------------------------------------------------

HOSTILE = (
    "PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONOPTIMIZE PYTHONWARNINGS PYTHONHASHSEED MPLBACKEND MATPLOTLIBRC GIT_DIR "
    "GIT_WORK_TREE GIT_INDEX_FILE GIT_CONFIG_COUNT JUPYTER_PATH BASH_ENV BASH_FUNC_cd%% ENV CDPATH IPYTHONDIR "
    "JUPYTER_CONFIG_DIR JUPYTER_DATA_DIR"
).split()
NEEDED = (
    "HOME PATH TMPDIR LANG HTTPS_PROXY REQUESTS_CA_BUNDLE SSL_CERT_FILE XDG_CACHE_HOME HF_HOME MPLCONFIGDIR "
    "CUDA_VISIBLE_DEVICES LD_LIBRARY_PATH OMP_NUM_THREADS ONEDNN_MAX_CPU_ISA ENVIRONMENT EUREKA_PROFILE VIRTUAL_ENV"
).split()


def test_what_is_foreign_goes_and_what_is_needed_stays(tmp_path):
    found = secluded(dict.fromkeys([*HOSTILE, *NEEDED], "hers"), tmp_path)
    assert {name: value for name, value in found.items() if value == "hers"} == dict.fromkeys(NEEDED, "hers")
    assert found["PYTHONPATH"] == str(paths.ROOT) and Path(found["IPYTHONDIR"]).parent == tmp_path
    looked_at = shielded({"JUPYTER_CONFIG_DIR": "hers", "MPLBACKEND": "Agg"})
    assert looked_at["JUPYTER_CONFIG_DIR"] == "hers" and "MPLBACKEND" not in looked_at


SPECIMEN = """
import locale, subprocess
import matplotlib.pyplot as plt
assert __debug__ and not get_ipython().pdb and "meddled" not in globals() and not plt.rcParams["text.usetex"]
try:
    assert False
except AssertionError:
    noticed = True
assert noticed and locale.getpreferredencoding(False).lower() == "utf-8"
print(subprocess.run(["bash", "-c", "echo shell"], capture_output=True, text=True).stdout)
_ = plt.plot([1, 2])
"""


def test_a_notebook_gives_the_same_in_a_hostile_shell(tmp_path, monkeypatch):
    """With its picture, its assertions, and no debugger that waits; and the same again when the shell is another."""
    hers = tmp_path / "hers"
    files = {
        "matplotlibrc": "text.usetex: True\nbackend: svg\n",
        "profile_default/ipython_config.py": "c = get_config(); c.InteractiveShell.pdb = True",
        "profile_default/startup/00.py": "meddled = True",
        "kernels/python3/kernel.json": json.dumps({"argv": ["/bin/false"], "display_name": "x", "language": "python"}),
        "packages/matplotlib.py": "raise RuntimeError('another matplotlib')",
        "bashrc": "echo meddled",
    }
    for name, text in files.items():
        (hers / name).parent.mkdir(parents=True, exist_ok=True)
        (hers / name).write_text(text)
    for name, value in {
        "MPLBACKEND": "Agg", "MPLCONFIGDIR": hers, "MATPLOTLIBRC": hers / "matplotlibrc", "IPYTHONDIR": hers,
        "JUPYTER_PATH": hers, "JUPYTER_DATA_DIR": hers, "PYTHONPATH": hers / "packages", "PYTHONOPTIMIZE": "2",
        "PYTHONWARNINGS": "error", "PYTHONSTARTUP": hers / "bashrc", "BASH_ENV": hers / "bashrc", "LC_ALL": "POSIX",
        "GIT_DIR": "/nowhere",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    write_notebook(tmp_path / "notebooks" / "01_small.ipynb", SPECIMEN)
    status, text = execute(tmp_path)
    assert status == 0, text
    cells = json.loads((tmp_path / "figures" / "notebooks" / "01_small.ipynb").read_text())["cells"]
    said, *pictures = cells[-1]["outputs"]
    assert "".join(said["text"]).split() == ["shell"]
    assert ["image/png" in picture["data"] for picture in pictures] == [True]


def test_figures_look_the_same_with_a_matplotlibrc_of_ones_own(house_style):
    expected = dict(mpl.rcParams)
    plt.rcParams.update({"text.usetex": True, "lines.linewidth": 9, "savefig.transparent": True, "axes.grid": True})
    use_style()
    assert dict(mpl.rcParams) == expected


@pytest.mark.parametrize(
    ("name", "meant"),
    [("EUREKA_STOER", "EUREKA_STORE"), ("EUREKA_FIGURE", "EUREKA_FIGURES"), ("EUREKA_STORAGE", "EUREKA_STORE")],
)
def test_a_variable_typed_wrong_is_named(name, meant, monkeypatch, capsys):
    monkeypatch.setenv(name, "/x")
    with pytest.raises(SystemExit, match="2"):
        main(["--check"])
    assert f"unknown environment variable {name}; did you mean {meant}?" in capsys.readouterr().err


def test_variables_of_a_service_of_that_name_are_left_alone():
    check_names([*surroundings.VARIABLES, "EUREKA_CLIENT_SERVICEURL_DEFAULTZONE", "EUREKA_INSTANCE_HOSTNAME", "STORE"])


# --- Places ----------------------------------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def repository(folder: Path, **files: str | bytes) -> str:
    """Make a repository with one commit, and return that."""
    folder.mkdir()
    git(folder, "init", "-q")
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    return git(folder, "rev-parse", "HEAD")


def test_the_commit_is_the_checkouts_own(tmp_path, monkeypatch):
    ours = repository(tmp_path / "ours", eureka_lib="")
    repository(tmp_path / "thesis", chapter="")
    (tmp_path / "thesis" / "unpacked").mkdir()
    commit = provenance.git_commit.__wrapped__  # not the one that it remembers
    monkeypatch.setattr(paths, "ROOT", tmp_path / "thesis" / "unpacked")
    assert commit() == "unknown"
    monkeypatch.setattr(paths, "ROOT", tmp_path / "ours")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "thesis" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "thesis" / ".git" / "index"))
    assert commit() == ours
    (tmp_path / "ours" / "eureka_lib").write_text("changed")
    assert commit() == f"{ours}+changes"


def test_a_clone_has_the_same_bytes_wherever_it_is_made(tmp_path):
    files = {
        "run_all.sh": "#!/bin/sh\n",
        "a.py": "x = 1\n",
        "a.csv": "a,b\n",
        "a.png": b"\x89PNG\r\n\x1a\n",
        "a.pdf": b"%\n%\r\n",
    }
    attributes = (paths.ROOT / ".gitattributes").read_bytes()
    repository(tmp_path / "ours", **files, **{".gitattributes": attributes})
    git(tmp_path, "clone", "-q", "-c", "core.autocrlf=true", "ours", "clone")
    for name, content in files.items():
        content = content if isinstance(content, bytes) else content.encode()
        assert (tmp_path / "clone" / name).read_bytes() == content, name


def test_products_never_go_into_site_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    for variable, place in {
        "EUREKA_STORE": paths.store_dir,
        "EUREKA_FIGURES": lambda: paths.figures_dir("laptop"),
    }.items():
        monkeypatch.setenv(variable, "")  # as if it were not set
        with pytest.raises(
            ValueError, match=f"installed in {tmp_path}, apart .*{variable} name a folder.*pip install -e"
        ):
            place()
        monkeypatch.setenv(variable, "/somewhere")
        assert place() == Path("/somewhere")
    with pytest.raises(ValueError, match=f"no notebooks in {tmp_path / 'notebooks'}; .*pip install -e"):
        find_notebooks(tmp_path / "notebooks")


def homeless():
    raise RuntimeError("Could not determine home directory.")


def test_without_a_home_data_have_a_place(monkeypatch):
    monkeypatch.setattr(Path, "home", homeless)  # which it says where there is neither HOME nor a user of that number
    assert str(paths.data_dir()) == os.environ["EUREKA_DATA"]
    monkeypatch.delenv("EUREKA_DATA")
    assert paths.data_dir() == paths.ROOT / ".cache"


def modes(folder: Path) -> dict[str, int]:
    found = {path.relative_to(folder).parts: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    return {"/".join("RUN" if len(part) == 16 else part for part in parts): mode for parts, mode in found.items()}


@pytest.mark.parametrize(("mode", "file"), [(0o775, 0o644), (0o770, 0o640), (0o700, 0o600)])
def test_whoever_may_use_the_store_may_use_what_others_left_in_it(tmp_path, tiny, mode, file):
    """Even if their umask closes what they make to everybody else."""
    from eureka_lib.experiments.run import run as train

    store = RunStore(tmp_path / "runs")
    store.folder.mkdir()
    store.folder.chmod(mode)
    before = os.umask(0o077)
    try:
        trained = train(tiny, store)
        (trained.folder / "history.csv").write_text("damaged")
        with pytest.warns(UserWarning, match="is damaged"):
            train(tiny, store)
    finally:
        os.umask(before)
    found = {name: mode for name, mode in modes(store.folder).items() if not name.startswith("damaged/")}
    folders = dict.fromkeys([".partial", "damaged", "RUN"], mode)
    files = dict.fromkeys(["RUN/SHA256SUMS", "RUN/config.json", "RUN/history.csv", "RUN/meta.json"], file)
    assert found == folders | files


# --- JupyterLab ------------------------------------------------------------------------------------------------------

KNOWN = find_notebooks(paths.NOTEBOOKS)


@pytest.mark.parametrize(
    "words", [[], ["00"], ["00_start_here"], ["notebooks/00_start_here.ipynb"], ["--port=1", "00"]]
)
def test_lab_opens_the_notebook_that_was_named(words):
    command = lab.command(words, KNOWN)
    assert "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb" in command and "--ip=127.0.0.1" in command
    assert ("--port=1" in command) == ("--port=1" in words)


def test_on_windows_lab_runs_beside_the_command(monkeypatch):
    """Where a process cannot become another and nothing hangs up. (Windows itself is untested.)"""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(subprocess, "run", lambda words, env: subprocess.CompletedProcess(words, len(words)))
    assert lab.main(["00"], KNOWN, only_check=False) == len(lab.command(["00"], KNOWN))
    monkeypatch.delattr(signal, "SIGHUP")
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:  # whatever another test has left
            signal.signal(number, signal.SIG_DFL)
        _let_signals_stop()
        assert all(signal.getsignal(number) is not signal.SIG_DFL for number in before)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_only_she_herself_opens_lab_to_others():
    assert [word for word in lab.command(["--ip=0.0.0.0"], KNOWN) if "ip=" in word] == ["--ip=0.0.0.0"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["99"], "unknown notebook"),
        (["01_the_eureka_momment"], "did you mean '01_the_eureka_moment'?"),
        (["smoke"], "unknown notebook 'smoke'"),
        (["01", "--port", "8890"], "one notebook at a time, got 01 and 8890; an option is given as in --port=8890"),
    ],
)
def test_mistakes_for_lab(words, said, capsys):
    assert main(["--check", "lab", *words]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1


def listens(port: int) -> bool:
    with suppress(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


def test_lab_starts_on_this_machine_alone(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "jupyter_server_config.py").write_text("c.ServerApp.ip = '0.0.0.0'; c.ServerApp.allow_root = True")
    log = tmp_path / "log"
    with open(log, "w") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "eureka_lib.run_all", "lab", "04", "--no-browser", f"--port={port}"],
            env=os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path)}, stdout=stream, stderr=stream, cwd=tmp_path,
        )  # fmt: skip
    try:
        address = re.compile(r"(http://127\.0\.0\.1:(\d+))/lab/tree/(\S+)\?token=(\w+)\n")
        while not (found := address.search(log.read_text())) or not listens(int(found[2])):  # it speaks first
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        root, port, page, token = found.groups()
        assert page == "notebooks/04_norm_softmax.ipynb"
        with urllib.request.urlopen(f"{root}/api/contents/figures?content=0&token={token}", timeout=120) as answer:
            assert json.load(answer)["type"] == "directory"  # which the notebooks link to
        with pytest.raises(OSError):  # another of this machine's addresses
            socket.create_connection(("127.0.0.2", int(port)), timeout=3)
    finally:
        with suppress(ProcessLookupError):
            server.send_signal(signal.SIGKILL)
        server.wait()
