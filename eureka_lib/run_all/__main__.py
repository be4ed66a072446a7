"""The command line of ``run_all.sh``: ``python -m eureka_lib.run_all``.

Without bash, as on Windows (untested there; under WSL run_all.sh does as on Linux), in the checkout's folder:

    py -3.12 -m venv .venv
    .venv\\Scripts\\python -m pip install -e .[class]
    .venv\\Scripts\\python -m eureka_lib.run_all lab

The extra ``all`` has what notebooks 10 to 12 need, too. pip's torch for Windows comes without CUDA.

The exit status is 0 if all is well, 1 if a notebook failed, 2 for a mistake on the command line, 128 + n if signal n
stopped the run.
"""

import argparse
import os
import signal
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from eureka_lib import paths
from eureka_lib.experiments import cluster
from eureka_lib.run_all import audit, kit, lab, slides
from eureka_lib.run_all.gallery.links import relink
from eureka_lib.run_all.jobs import PROFILES, Job, find_notebooks, parse_value, plan, select
from eureka_lib.run_all.surroundings import check_names
from eureka_lib.validation import check_choice, check_whole

USAGE = """\
./run_all.sh [NOTEBOOK ...] [--profile smoke|laptop|paper] [--jobs N] [--force] [-p NAME=VALUE]
                    [--fresh] [--no-audit] [--list] [--scheduler ADDRESS [--per-task GPU=1]]
       ./run_all.sh audit [--runs N] [--seed S]
       ./run_all.sh lab [NOTEBOOK] [JupyterLab's options]
       ./run_all.sh slides NOTEBOOK ...
       ./run_all.sh kit FOLDER
       ./run_all.sh test [pytest's arguments]"""
EPILOG = """\
examples:
  ./run_all.sh                       all notebooks, at a laptop's scale
  ./run_all.sh paper                 the same notebooks at the paper's scale, for a GPU
  ./run_all.sh smoke 01 03           two notebooks at the smallest scale
  ./run_all.sh 01 -p "seeds=[0, 1]"  with another value for a parameter of its first cell
  ./run_all.sh paper --scheduler tcp://login1:8786 --per-task GPU=1
                                     training runs go to a dask cluster, each takes one GPU of a worker
  ./run_all.sh --list                what the notebooks' runs cost, in core-hours, and which are there
  ./run_all.sh 01 --fresh            trains everything anew, whatever is stored or released
  ./run_all.sh audit --runs 6        trains six of the released runs again, and compares
  ./run_all.sh lab 01                opens a notebook in JupyterLab
  ./run_all.sh slides 05             its pages for a lecture, from the executed notebook
  ./run_all.sh kit /media/usb/eureka all that a room without a network needs, in one folder
  ./run_all.sh test                  all tests

A cluster's workers must see this machine's run store: EUREKA_STORE=/shared/runs moves it. Whoever can connect to a dask
scheduler or worker can run code there. An example for SLURM and TLS: python -c "help('eureka_lib.experiments.cluster')"

Figures go to figures/ (of another profile: to figures/PROFILE/), the notebooks as HTML to notebooks/ in there;
index.html beside them shows every figure with its claim and how to read it. With other parameters than the defaults,
be it by -p or in an edited notebook, all this goes to played/ in there, and no claims are kept.
The runs behind the figures come with the checkout (figures/runs); only what is missing is trained. While all notebooks
are executed, two of the released runs are trained again beside them and compared.
A notebook that is up to date is skipped, and finished training runs are kept in any case: a rerun continues.
An active conda or virtual environment is used if it satisfies pyproject.toml; else .venv is made with pip.
"""
JOBS = {"smoke": "2"}  # at a time: they import more than they train, which takes one core
OPTIONS = ("--profile", "--jobs", "--force", "--fresh", "--no-audit", "--list", "--parameter", "--scheduler",
           "--per-task", "--help")  # fmt: skip


@dataclass(frozen=True)
class Request:
    """A valid command line."""

    jobs: list[Job]
    workers: int
    force: bool
    environment: dict[str, str]  # variables that tell sweeps of a cluster, or of another store
    audit: bool = False  # of released runs, beside the notebooks
    only_list: bool = False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run_all.sh",
        usage=USAGE,
        description="Execute the notebooks; leave their figures, and the notebooks as HTML.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("words", nargs="*", metavar="NOTEBOOK", help="01, 01_name or notebooks/01_name.ipynb; default: all")
    add("--profile", help=f"the scale: {', '.join(PROFILES)}; default: {paths.DEFAULT_PROFILE}")
    add("--jobs", "-j", metavar="N", help="notebooks at a time; default: 1, as each uses all cores; smoke: 2")
    add("--force", "-f", action="store_true", help="execute also what is up to date")
    add("--fresh", action="store_true", help="train everything anew, in a store of its own; implies --force")
    add("--no-audit", action="store_true", help="train none of the released runs again")
    add("--list", action="store_true", help="what the notebooks' runs cost and where they are; execute nothing")
    add("--parameter", "-p", action="append", default=[], metavar="NAME=VALUE", help="repeatable")
    add("--scheduler", metavar="ADDRESS", help="train on the dask cluster there, such as tcp://login1:8786")
    add("--per-task", metavar="NAME=NUMBER", help="what each of its tasks takes of a worker's resources: GPU=1")
    return parser


def parse(arguments: list[str], folder: Path) -> Request:
    """Read the command line; for a mistake, exit with status 2 and one clear line."""
    parser = _parser()
    options, unknown = parser.parse_known_intermixed_args(arguments)
    try:
        for word in unknown:
            check_choice("option", word.split("=")[0], OPTIONS)
        check_names(os.environ)
        return _request(options, find_notebooks(folder))
    except (ValueError, TypeError) as problem:
        parser.exit(2, f"run_all.sh: {problem}\n")


def _request(options: argparse.Namespace, known: dict[str, Path]) -> Request:
    profiles = {word for word in options.words if word in PROFILES} | ({options.profile} - {None})
    if len(profiles) > 1:
        raise ValueError(f"one profile at a time, got {' and '.join(sorted(profiles))}")
    profile = check_choice("profile", profiles.pop() if profiles else paths.DEFAULT_PROFILE, PROFILES)
    jobs = JOBS.get(profile, "1") if options.jobs is None else options.jobs
    workers = check_whole("--jobs", parse_value(jobs), 1)
    notebooks = select([word for word in options.words if word not in PROFILES], known)
    planned = plan(notebooks, paths.figures_dir(profile), profile, options.parameter)
    everything = profile == paths.DEFAULT_PROFILE and len(notebooks) == len(known) and not options.parameter
    return Request(
        planned, workers, options.force or options.fresh, _cluster(options) | (_fresh() if options.fresh else {}),
        audit=everything and not options.fresh and not options.no_audit, only_list=options.list,
    )  # fmt: skip


def _fresh() -> dict[str, str]:
    """A store of its own, without released runs under it."""
    folder = str(paths.store_dir().absolute() / "fresh" / time.strftime("%Y-%m-%d_%H-%M-%S"))
    return {"EUREKA_STORE": folder, "EUREKA_RELEASED": folder}


def _cluster(options: argparse.Namespace) -> dict[str, str]:
    if options.per_task and not options.scheduler:
        raise ValueError(f"--per-task {options.per_task} is what a cluster's tasks take: it needs --scheduler")
    if not options.scheduler:
        return {}
    cluster.parse_resources(options.per_task or "")
    return {"EUREKA_SCHEDULER": cluster.check_address(options.scheduler), "EUREKA_PER_TASK": options.per_task or ""}


def run(request: Request, stream: TextIO) -> int:
    """Carry out a request, telling ``stream`` about it; return the exit status."""
    from eureka_lib.experiments.pools import Workers  # which, like the next, --check has to do without
    from eureka_lib.run_all import many
    from eureka_lib.store import RunStore

    def say(text: str) -> None:
        print(text, file=stream, flush=True)

    jobs, outcomes = request.jobs, []
    os.environ |= request.environment  # the notebooks inherit it
    say(f"{len(jobs)} notebook{'s' if len(jobs) > 1 else ''}, profile {jobs[0].profile}")
    if fresh := request.environment.get("EUREKA_STORE"):
        say(
            f"All is trained anew. Should it be stopped, this goes on: EUREKA_STORE={fresh} EUREKA_RELEASED={fresh} ..."
        )
    folders = {job.figures: job for job in jobs}.values()
    status = 0
    try:
        with (
            TemporaryDirectory(prefix="eureka-") as scratch,
            audit.beside(Path(scratch)) if request.audit and RunStore().released() else nullcontext() as audited,
            Workers(request.workers) as pool,
        ):
            for outcome in many.execute_all(jobs, pool, request.workers, request.force, Path(scratch), stream):
                outcomes.append(outcome)
            say(many.summary(jobs, outcomes))
            for job in folders:
                page = pool.submit(_gallery, job).result()
                say(f"All figures on one page: {many.from_here(page)}" if page else "There are no figures yet.")
            if audited:
                status, words = audit.outcome(audited, Path(scratch))
                say(words)
    except KeyboardInterrupt as signalled:
        for job in folders:
            relink(job.products, job.source.parent)
        stopped = str(signalled) or "SIGINT"
        say(f"{many.summary(jobs, outcomes)}\nStopped by {stopped}. The same command continues; what is done is kept.")
        return 128 + signal.Signals[stopped]
    return 1 if status or any(outcome.error for outcome in outcomes) else 0


def show_costs(jobs: list[Job], stream: TextIO) -> int:
    """What the runs of the notebooks cost, as far as runs are known; 0, the exit status."""
    from eureka_lib.store import RunStore
    from eureka_lib.store.contents import behind_figures, costs

    wanted, names = behind_figures(paths.figures_dir(jobs[0].profile)), {job.name for job in jobs}
    found = costs(RunStore(), {name: keys for name, keys in wanted.items() if name in names})
    columns = ["runs", "released", "trained here", "missing", "core-hours"]
    print(f"{'notebook':<28}" + "".join(f"{column:>14}" for column in columns), file=stream)
    for name, row in found.items():
        print(f"{name:<28}" + "".join(f"{row[column]:>14}" for column in columns), file=stream)
    print(
        "A run that several notebooks show counts in the first. Hours are those of the runs that are there.",
        file=stream,
    )
    return 0


def _gallery(job: Job) -> Path | None:
    from eureka_lib.run_all.gallery import page  # whose imports take seconds, and are there in a worker

    return page.build(job.figures, job.source.parent, job.profile)


def _let_signals_stop() -> None:
    """SIGTERM and a closing terminal stop the run as Ctrl-C does, so that nothing is left running."""

    def stop(number, _frame):
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:  # Windows has no SIGHUP
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP, and means it
            signal.signal(number, stop)


COMMANDS = {
    "lab": lambda words, only_check: lab.main(words, find_notebooks(paths.NOTEBOOKS), only_check),
    "slides": lambda words, only_check: slides.main(words, find_notebooks(paths.NOTEBOOKS), only_check),
    "kit": kit.main,
    "audit": audit.main,
}


def main(arguments: list[str]) -> int:
    """Run the command line."""
    only_check, words = "--check" in arguments, [word for word in arguments if word != "--check"]
    try:
        if words and (command := COMMANDS.get(words[0])):
            check_names(os.environ)
            return command(words[1:], only_check)
        request = parse(words, paths.NOTEBOOKS)
        if only_check:
            return 0
        if request.only_list:
            return show_costs(request.jobs, sys.stdout)
        _let_signals_stop()
        if address := request.environment.get("EUREKA_SCHEDULER"):
            with cluster.connect(address):
                pass  # it answers
    except (ImportError, ConnectionError, ValueError) as problem:
        print(f"run_all.sh: {problem}", file=sys.stderr)
        return 2
    return run(request, sys.stdout)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
