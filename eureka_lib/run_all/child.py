"""One notebook, executed by papermill in a process of its own, since papermill is not safe in threads.

A killed kernel leaves a notebook that papermill marks completed, so only a clean return counts as success.
"""

import json
import os
import shutil
import signal
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from eureka_lib import paths
from eureka_lib.run_all.jobs import CELL_TIMEOUT, Job, ingredients, write_record

KERNELS: list[int] = []  # the process group of the kernel that this process started; Jupyter gives each one of its own


@dataclass(frozen=True)
class Outcome:
    """How a notebook ended: ``status`` is "ok", "up to date" or "FAILED"; ``error`` says where and why it failed."""

    name: str
    status: str
    seconds: float = 0.0
    error: str = ""


def main(job: str, scratch: Path) -> int:
    """Execute the job, given as JSON, and leave the outcome in the folder ``scratch``."""
    threading.Thread(target=_die_with_parent, args=(scratch,), daemon=True).start()
    outcome = execute(Job(**json.loads(job)), scratch)
    (scratch / "outcome.json").write_text(json.dumps(asdict(outcome)))
    return 0


def _die_with_parent(scratch: Path) -> None:
    """Wait for the end of standard input, a pipe that the parent holds, and end with it.

    It ends when the parent closes it, and also when the parent is gone for any reason, be it SIGKILL; so no kernel
    outlives its run.
    """
    os.read(0, 1)
    _kill_kernel()
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)


def _kill_kernel() -> None:
    """Kill the kernel and the workers it started, also those that a dead kernel left behind."""
    while KERNELS:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(KERNELS.pop(), signal.SIGKILL)


def execute(job: Job, scratch: Path) -> Outcome:
    """Execute one notebook here and now; which cell it is at is written to the file ``cell`` in ``scratch``."""
    started, made_of = time.monotonic(), ingredients(job)
    job.products.mkdir(parents=True, exist_ok=True)
    for suffix in (".json", ".ipynb", ".html"):  # from here on it is not done, and nothing old looks like new
        job.product(suffix).unlink(missing_ok=True)
    position, error = Position(scratch), ""
    try:
        _run_papermill(job, position)
    except Exception as problem:  # whatever it is, it belongs in the report, and the others run
        error = _explain(job, position, problem)
    finally:
        _kill_kernel()
    try:
        _render(job)
    except Exception as problem:
        error = error or f"HTML export: {_in_one_line(f'{type(problem).__name__}: {problem}')}"
    seconds = time.monotonic() - started
    if not error:
        write_record(job, made_of, seconds)
    return Outcome(job.name, "FAILED" if error else "ok", seconds, error)


class Position:
    """Which code cell is being executed, counted as In [n] does; nbclient calls the methods."""

    def __init__(self, scratch: Path):
        self.scratch, self.number, self.total, self.index, self.label = scratch, 0, 0, None, ""

    def on_notebook_start(self, notebook) -> None:
        """Called when the kernel is ready."""
        self.total = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in notebook.cells)

    def on_cell_execute(self, cell, cell_index: int) -> None:
        """Called before each code cell."""
        self.number, self.index = self.number + 1, cell_index
        self.label = f"cell {self.number} `{_in_one_line(cell.source.strip().splitlines()[0], 60)}`: "
        (self.scratch / "status").unlink(missing_ok=True)  # what the cell before said of its progress is over
        paths.write_atomically(self.scratch / "cell", f"cell {self.number}/{self.total}".encode())


def _run_papermill(job: Job, position: Position) -> None:
    import papermill
    from jupyter_client.manager import AsyncKernelManager

    class KernelManager(AsyncKernelManager):
        async def start_kernel(self, **options) -> None:
            await super().start_kernel(**options)
            KERNELS.append(self.provisioner.pgid)

    # papermill formats the paths it gets, so braces in them have to be doubled
    source, executed = (str(p).replace("{", "{{").replace("}", "}}") for p in (job.source, job.product(".ipynb")))
    papermill.execute_notebook(
        source,
        executed,
        parameters=job.parameters,
        kernel_name="python3",
        language="python",
        cwd=str(Path(job.source).parent),
        progress_bar=False,
        execution_timeout=CELL_TIMEOUT[job.profile],
        start_timeout=300,  # for a busy machine, like the next
        iopub_timeout=60,
        kernel_manager_class=KernelManager,
        on_notebook_start=position.on_notebook_start,
        on_cell_execute=position.on_cell_execute,
    )


def _explain(job: Job, position: Position, problem: Exception) -> str:
    """In which cell a notebook failed, and why; what papermill did not put into the executed notebook goes there."""
    import nbformat
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    if isinstance(problem, PapermillExecutionError):
        return position.label + _in_one_line(f"{problem.ename}: {problem.evalue}")
    name, text = type(problem).__name__, _in_one_line(problem)
    if isinstance(problem, DeadKernelError):
        text += " (its process was killed or crashed; perhaps the memory is too small)"
    if position.index is not None:
        notebook = nbformat.read(job.product(".ipynb"), as_version=4)
        output = nbformat.v4.new_output("error", ename=name, evalue=text, traceback=[f"{name}: {text}"])
        notebook.cells[position.index].outputs.append(output)
        nbformat.write(notebook, job.product(".ipynb"))
    return f"{position.label}{name}: {text}"


def _in_one_line(text: object, width: int = 300) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= width else line[: width - 3] + "..."


def _render(job: Job) -> None:
    """Write the executed notebook as one HTML file, pictures included."""
    import nbformat

    from eureka_lib.run_all.gallery import OfflineExporter, links_from

    notebook, folder = nbformat.read(job.product(".ipynb"), as_version=4), Path(job.source).parent
    resources = {"metadata": {"name": job.name, "path": str(folder)}}
    html, _ = OfflineExporter(links_from(job.products, folder)).from_notebook_node(notebook, resources=resources)
    paths.write_atomically(job.product(".html"), html.encode())
