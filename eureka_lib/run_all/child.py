"""One notebook in a process of its own, because papermill is not safe in threads and a process can be stopped for good.

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

from eureka_lib.run_all.jobs import CELL_TIMEOUT, Job
from eureka_lib.run_all.records import ingredients, read_json, write_atomically, write_record


@dataclass(frozen=True)
class Outcome:
    """How a notebook ended: ``status`` is "ok", "up to date" or "FAILED"; the rest says where and why it failed."""

    name: str
    status: str
    seconds: float = 0.0
    cell: str = ""  # its number, In [n] in the HTML, and its first line
    error: str = ""


def main(scratch: Path) -> int:
    """Run the job described in the folder ``scratch`` and leave the outcome there."""
    threading.Thread(target=_die_with_parent, args=(scratch,), daemon=True).start()
    outcome = run_notebook(Job(**read_json(scratch / "job.json")), scratch)
    write_atomically(scratch / "outcome.json", json.dumps(asdict(outcome)))
    return 0


def _die_with_parent(scratch: Path) -> None:
    """Wait for the end of standard input, a pipe that the parent holds, and end with it.

    It ends when the parent says so, and also when the parent is gone for any reason, be it SIGKILL; so no kernel
    outlives its run.
    """
    os.read(0, 1)
    Kernel.kill()
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)


def run_notebook(job: Job, scratch: Path) -> Outcome:
    """Execute one notebook here and now; ``scratch`` is a short-lived folder for its progress and its sockets."""
    started, made_of = time.monotonic(), ingredients(job)
    job.products.mkdir(parents=True, exist_ok=True)
    for product in (job.record, job.executed, job.html):  # from here on it is not done, and nothing old looks like new
        product.unlink(missing_ok=True)
    place, cell, error = Place(scratch), "", ""
    try:
        _execute(job, scratch, place)
    except Exception as problem:  # whatever it is, it belongs in the report, and the others run
        cell, error = _explain(job, place, problem)
    finally:
        Kernel.kill()
    try:
        _render(job)
    except Exception as problem:
        error = error or f"HTML export: {_in_one_line(problem)}"
    seconds = time.monotonic() - started
    if error:
        return Outcome(job.name, "FAILED", seconds, cell, error)
    write_record(job, made_of, seconds)
    return Outcome(job.name, "ok", seconds)


class Place:
    """Knows which cell is being executed, and tells the parent through the file ``cell.json``."""

    def __init__(self, scratch: Path):
        self.file, self.status = scratch / "cell.json", scratch / "status.json"
        self.index, self.number, self.total = None, 0, 0  # number and total count code cells, as In [n] does

    def on_notebook_start(self, notebook) -> None:
        """Called by nbclient when the kernel is ready."""
        self.total = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in notebook.cells)

    def on_cell_execute(self, cell, cell_index: int) -> None:
        """Called by nbclient before each code cell."""
        self.index, self.number = cell_index, self.number + 1
        self.status.unlink(missing_ok=True)  # what the cell before said of its progress is over
        write_atomically(self.file, json.dumps({"number": self.number, "total": self.total}))


class Kernel:
    """The process group of the kernel that this process started; jupyter gives each kernel one of its own."""

    group: int | None = None

    @classmethod
    def kill(cls) -> None:
        """End the kernel and the workers it started, also those that a dead kernel left behind."""
        if cls.group is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(cls.group, signal.SIGKILL)
        cls.group = None

    @classmethod
    def manager_class(cls) -> type:
        """Jupyter's kernel manager, which also notes the process group here."""
        from jupyter_client.manager import AsyncKernelManager

        class NotingKernelManager(AsyncKernelManager):
            async def start_kernel(self, **kwargs) -> None:
                await super().start_kernel(**kwargs)
                cls.group = self.provisioner.pgid

        return NotingKernelManager

    @staticmethod
    def config(scratch: Path):
        """Sockets in ``scratch`` instead of network ports, of which ipykernel would warn."""
        from traitlets.config import Config

        connection = scratch / "kernel.json"
        if len(str(connection)) > 90:  # a socket's path has room for about 100 characters; then rather a warning
            return Config()
        return Config({"KernelManager": {"transport": "ipc", "connection_file": str(connection)}})


def _execute(job: Job, scratch: Path, place: Place) -> None:
    import papermill

    # papermill formats the paths it gets, so braces in them have to be doubled
    source, executed = (path.replace("{", "{{").replace("}", "}}") for path in (job.source, str(job.executed)))
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
        kernel_manager_class=Kernel.manager_class(),
        config=Kernel.config(scratch),
        on_notebook_start=place.on_notebook_start,
        on_cell_execute=place.on_cell_execute,
    )


def _explain(job: Job, place: Place, problem: Exception) -> tuple[str, str]:
    """In which cell a notebook failed, and why."""
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    if isinstance(problem, PapermillExecutionError):
        number = problem.exec_count or place.number
        return _cell_label(number, problem.source), _in_one_line(f"{problem.ename}: {problem.evalue}")
    error = _in_one_line(problem)
    if isinstance(problem, DeadKernelError):
        error += " (its process was killed or crashed; perhaps the memory is too small)"
    if place.index is None:
        return "", error
    return _cell_label(place.number, _mark_failed(job, place.index, error)), error


def _mark_failed(job: Job, index: int, error: str) -> str:
    """Put an error that papermill did not note into the executed notebook, for the HTML; return that cell's source."""
    import nbformat

    notebook = nbformat.read(job.executed, as_version=4)
    name, _, text = error.partition(": ")
    notebook.cells[index].outputs.append(nbformat.v4.new_output("error", ename=name, evalue=text, traceback=[error]))
    nbformat.write(notebook, job.executed)
    return notebook.cells[index].source


def _cell_label(number: int, source: str) -> str:
    lines = [line.strip() for line in source.splitlines()]
    return f"cell {number} `{_shorten(next(filter(None, lines), ''), 60)}`"


def _in_one_line(problem: Exception | str) -> str:
    text = problem if isinstance(problem, str) else f"{type(problem).__name__}: {problem}"
    return _shorten(" ".join(text.split()), 300)


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _render(job: Job) -> None:
    """The executed notebook as one HTML file, pictures included."""
    import nbformat

    from eureka_lib.run_all.gallery import OfflineExporter, links_from

    notebook = nbformat.read(job.executed, as_version=4)
    resources = {"metadata": {"name": job.name, "path": str(Path(job.source).parent)}}
    exporter = OfflineExporter(links_from(job.products, Path(job.source).parent))
    html, _ = exporter.from_notebook_node(notebook, resources=resources)
    write_atomically(job.html, html)
