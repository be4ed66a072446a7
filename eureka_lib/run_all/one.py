"""One notebook, executed by papermill and written as HTML by nbconvert, in a worker process of its own.

A killed kernel leaves a notebook that papermill marks completed, so only a clean return counts as success.
"""

import os
import signal
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

import nbformat
import papermill
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from eureka_lib import paths
from eureka_lib.run_all.gallery.links import links_from
from eureka_lib.run_all.gallery.render import OfflineExporter
from eureka_lib.run_all.jobs import CELL_TIMEOUT, Job, Outcome, ingredients, read_cells, write_record
from eureka_lib.run_all.surroundings import secluded


class KernelManager(AsyncKernelManager):
    """Jupyter's, which also keeps the process group of the kernel that it starts: each kernel has one of its own."""

    group: int | None = None

    async def start_kernel(self, **options) -> None:
        """As Jupyter's."""
        await super().start_kernel(**options)
        KernelManager.group = self.provisioner.pgid


def work(job: Job, scratch: Path) -> Outcome:
    """What a worker does: :func:`execute`, in surroundings in which nothing changes a result."""
    nowhere = os.open(os.devnull, os.O_WRONLY)  # for what kernels say beside their cells
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    scratch.mkdir()
    environment = secluded(os.environ, scratch)
    os.environ.clear()
    os.environ.update(environment, EUREKA_PROFILE=job.profile, EUREKA_HEADLESS="1", EUREKA_STATUS=f"{scratch}/status")
    return execute(job, scratch)


def execute(job: Job, scratch: Path) -> Outcome:
    """Execute one notebook here and now; which cell it is at is written to the file ``cell`` in ``scratch``."""
    started, made_of, error = time.monotonic(), ingredients(job), ""
    job.products.mkdir(parents=True, exist_ok=True)
    for suffix in (".json", ".ipynb", ".html"):  # from here on it is not done, and nothing old looks like new
        job.product(suffix).unlink(missing_ok=True)
    try:
        _run_papermill(job, scratch)
    except Exception as problem:  # whatever it is, it belongs in the report, and the others run
        error = _explain(job, problem)
    finally:
        if KernelManager.group:  # its workers, too, also those that a dead kernel left behind
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(KernelManager.group, signal.SIGKILL)
            KernelManager.group = None
    try:
        _render(job)
    except Exception as problem:
        error = error or f"HTML export: {_in_one_line(f'{type(problem).__name__}: {problem}')}"
    seconds = time.monotonic() - started
    if not error:
        write_record(job, made_of, seconds)
    return Outcome(job.name, "FAILED" if error else "ok", seconds, error)


def _run_papermill(job: Job, scratch: Path) -> None:
    total = sum(kind == "code" and bool(source.strip()) for kind, source, _ in read_cells(job.source))
    numbers = count(1)

    def on_cell_execute(**_) -> None:
        (scratch / "status").unlink(missing_ok=True)  # what the cell before said of its progress is over
        here = f"cell {next(numbers)}/{total + bool(job.parameters)}"  # papermill adds a cell with the parameters
        paths.write_atomically(scratch / "cell", here.encode())

    # papermill formats the paths it gets, so braces in them have to be doubled
    source, executed = (str(p).replace("{", "{{").replace("}", "}}") for p in (job.source, job.product(".ipynb")))
    papermill.execute_notebook(
        source,
        executed,
        parameters=job.parameters,
        kernel_name="python3",
        language="python",
        cwd=job.source.parent,
        progress_bar=False,
        execution_timeout=CELL_TIMEOUT[job.profile],
        start_timeout=300,  # for a busy machine, like the next
        iopub_timeout=60,
        kernel_manager_class=KernelManager,
        on_cell_execute=on_cell_execute,
    )


def _explain(job: Job, problem: Exception) -> str:
    """In which cell a notebook failed, and why; what papermill did not put into the executed notebook goes there."""
    name, text = type(problem).__name__, _in_one_line(problem)
    if isinstance(problem, PapermillExecutionError):
        name, text = problem.ename, _in_one_line(problem.evalue)
    if isinstance(problem, DeadKernelError):
        text += " (its process was killed or crashed; perhaps the memory is too small)"
    executed = job.product(".ipynb")
    notebook = nbformat.read(executed, as_version=4) if executed.exists() else nbformat.v4.new_notebook()
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    begun = [cell for cell in code if cell.metadata.papermill.start_time]
    if not begun:
        return f"{name}: {text}"
    if not isinstance(problem, PapermillExecutionError):
        begun[-1].outputs.append(
            nbformat.v4.new_output("error", ename=name, evalue=text, traceback=[f"{name}: {text}"])
        )
        nbformat.write(notebook, executed)
    return f"cell {len(begun)} `{_in_one_line(begun[-1].source.strip().splitlines()[0], 60)}`: {name}: {text}"


def _in_one_line(text: object, width: int = 300) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= width else line[: width - 3] + "..."


def _render(job: Job) -> None:
    """Write the executed notebook as one HTML file, pictures included."""
    notebook, folder = nbformat.read(job.product(".ipynb"), as_version=4), job.source.parent
    resources = {"metadata": {"name": job.name, "path": str(folder)}}
    html, _ = OfflineExporter(links_from(job.products, folder)).from_notebook_node(notebook, resources=resources)
    paths.write_atomically(job.product(".html"), html.encode())
