"""What notebooks see of a person's surroundings: all that her machine needs, nothing that changes a result in silence.

What is taken away, or replaced, tells Python, matplotlib, IPython, Jupyter, git or a shell *how to work*: ``FOREIGN``
and the configuration files. What stays says *where* to work and *with what*: HOME, PATH, TMPDIR, proxies, certificates,
caches, tokens, CUDA_VISIBLE_DEVICES, and the language. So do OMP_NUM_THREADS and its like, by which people share a
machine: a training uses one thread whatever they say. ONEDNN_MAX_CPU_ISA and its like imitate another processor, on
purpose. run_all.sh does the same for what has to be gone before Python starts.
"""

import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from eureka_lib import paths

# PYTHONPATH, PYTHONOPTIMIZE (no assertions), PYTHONSTARTUP, ...; another backend (no pictures) and style; kernels of
# other environments; another repository's commit; what a shell runs before anything else.
FOREIGN = re.compile(r"PYTHON.*|MPLBACKEND|MATPLOTLIBRC|JUPYTER_PATH|GIT_.*|BASH_.*|ENV|CDPATH")
OURS = {
    "PYTHONPATH": str(paths.ROOT),  # this checkout's library, in the kernels too
    "PYTHONNOUSERSITE": "1",  # packages in the home folder come before the environment's
    "PYTHONUTF8": "1",  # files are read and written alike, whatever the language
    "MATPLOTLIBRC": os.devnull,  # matplotlib's own defaults
    "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel python3, not one of that name in the home folder
}
PERSONAL = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
VARIABLES = (*paths.VARIABLES, "EUREKA_PROFILE", "EUREKA_HEADLESS", "EUREKA_STATUS", "EUREKA_SCHEDULER",
             "EUREKA_PER_TASK", "EUREKA_TORCH_INDEX")  # fmt: skip


def shielded(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment ``variables`` without what is ``FOREIGN``, for notebooks that a person looks at."""
    kept = {name: value for name, value in variables.items() if not FOREIGN.fullmatch(name)}
    # A kernel works in the notebooks' folder, so relative folders would mean another place there.
    folders = {name: str(Path(kept[name]).expanduser().absolute()) for name in paths.VARIABLES if kept.get(name)}
    return kept | folders | OURS


def secluded(variables: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The same for notebooks that nobody looks at, with an empty ``folder`` for her IPython and Jupyter settings.

    Those may wait for a debugger's input, run files at each start, or draw pictures of another kind.
    """
    return shielded(variables) | {name: str(folder / name.lower()) for name in PERSONAL}


def check_names(names: Iterable[str]) -> None:
    """Raise ValueError for an environment variable that is meant to be one of ours but typed wrong.

    Others may begin with EUREKA_, too: they belong to a service of that name.
    """
    for name in sorted(set(names) - set(VARIABLES)):
        known = {each.removeprefix("EUREKA_"): each for each in VARIABLES}
        if name.startswith("EUREKA_") and (near := get_close_matches(name.removeprefix("EUREKA_"), known, n=1)):
            raise ValueError(f"unknown environment variable {name}; did you mean {known[near[0]]}?")
