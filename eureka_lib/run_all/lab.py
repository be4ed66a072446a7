"""``./run_all.sh lab [NOTEBOOK]``: a notebook in JupyterLab, with the environment that has what it needs."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from eureka_lib import paths
from eureka_lib.run_all.jobs import select
from eureka_lib.run_all.surroundings import shielded
from eureka_lib.validation import check_choice

USAGE = """\
usage: ./run_all.sh lab [NOTEBOOK] [JupyterLab's options]

Opens a notebook (00, 00_start_here or notebooks/00_start_here.ipynb, which is the default) in JupyterLab, which listens
on this machine alone. Options go on to JupyterLab, with their values behind an equals sign:
  ./run_all.sh lab 04 --no-browser --port=8890"""


def command(arguments: list[str], known: dict[str, Path]) -> list[str]:
    """The command that opens one of the ``known`` notebooks in JupyterLab; ValueError if the words do not name one."""
    words = [word for word in arguments if not word.startswith("-")]
    if len(words) > 1:
        raise ValueError(f"one notebook at a time, got {' and '.join(words)}; an option is given as in --port=8890")
    name = next(iter(select(words, known)), None) or check_choice("notebook", words[0], known)
    page = quote(known[name].relative_to(paths.ROOT).as_posix())
    ip_given = any(word.startswith(("--ip=", "--ServerApp.ip=")) for word in arguments)
    return [
        *(sys.executable, "-m", "jupyterlab"),
        f"--ServerApp.root_dir={paths.ROOT}",  # so that links from the notebooks to figures and code lead there
        f"--LabApp.default_url=/lab/tree/{page}",
        *([] if ip_given else ["--ip=127.0.0.1"]),
        *(word for word in arguments if word.startswith("-")),
    ]


def main(arguments: list[str], known: dict[str, Path], only_check: bool) -> int:
    """Become JupyterLab, or say what is wrong; ``only_check``: no more than that."""
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    words = command(arguments, known)
    if only_check:
        return 0
    if sys.platform == "win32":  # where another program cannot take a process's place
        return subprocess.run(words, env=shielded(os.environ)).returncode
    os.execve(words[0], words, shielded(os.environ))
