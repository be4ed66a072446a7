"""Sweeps on a cluster, by dask.distributed (``pip install 'eureka-lib[cluster]'``; it is part of ``[all]``).

Two things must be the same wherever a worker runs: the folder of the run store, on a file system that all machines
share, and this library with its environment. Then the call that trains eight runs on a laptop trains thousands::

    from dask_jobqueue import SLURMCluster
    from distributed import Client
    from eureka_lib.experiments import profiles
    from eureka_lib.store import RunStore
    from eureka_lib.experiments.sweep import sweep

    cluster = SLURMCluster(
        queue="gpu", walltime="08:00:00", memory="16GB",
        cores=1, processes=1,                            # one thread a worker: trainings in one process take turns
        job_cpu=4,                                       # what SLURM is asked for, to feed the GPU
        job_extra_directives=["--gres=gpu:1"],           # a GPU for each job, which is one worker,
        worker_extra_args=["--resources", "GPU=1"],      # and the worker says that it has one
        job_script_prologue=["export EUREKA_DATA=$HOME/eureka/data"],
    )
    cluster.scale(jobs=20)
    executor = Client(cluster).get_executor(resources={"GPU": 1})  # each task takes a worker's whole GPU
    experiments = [profiles.get("paper").vit.vary(seed=seed) for seed in range(1000)]
    runs = sweep(experiments, executor, RunStore("/shared/eureka/runs"))

The notebooks use a cluster that is there already: ``EUREKA_STORE=/shared/eureka/runs ./run_all.sh paper --scheduler
tcp://login1:8786 --per-task GPU=1``, where ``cluster.scheduler_address`` or ``dask scheduler`` prints the address.
Without SLURM: ``dask scheduler`` on one machine, ``dask worker ADDRESS --nthreads 1 --nworkers 8`` (or one a GPU, with
``CUDA_VISIBLE_DEVICES`` and ``--resources GPU=1``) on the others.

What happens to whom. A worker that is killed, or whose job ends, is replaced by whoever started it (dask's nanny,
SLURM); its run is trained again, from where it was last saved. A run that kills its workers (dask tries it on four,
and we send it off three times) is named, and all others finish. Where jobs are preempted more often than that, set
``DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES`` for the scheduler. If the calling process is killed, workers finish
and store what they have begun; the same call again trains the rest.

Security. Nothing on disk is ever unpickled, but dask's processes send each other pickled code and data over TCP:
**whoever can connect to a scheduler or a worker can run code there**. Keep them inside a network whose users you
trust (``--host`` and ``--interface`` choose where they listen), or encrypt and authenticate with TLS: give
``SLURMCluster`` or ``dask scheduler`` and ``dask worker`` certificates, and the notebooks an address ``tls://...`` with
``DASK_DISTRIBUTED__COMM__TLS__CA_FILE`` and ``..._CLIENT__CERT`` and ``..._CLIENT__KEY`` set.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager

CONNECT_SECONDS = 20


@contextmanager
def connect(address: str, per_task: Mapping[str, float] | None = None) -> Iterator[Executor]:
    """An executor on the cluster of the scheduler at ``address``, each task taking the resources ``per_task``.

    Raises ImportError without dask.distributed, ValueError for what is no address, ConnectionError if nobody answers.
    """
    check_address(address)
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("a cluster needs dask.distributed: pip install 'eureka-lib[cluster]'") from error
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except OSError as error:
        raise ConnectionError(f"no dask scheduler answers at {address}: {error}") from error
    with client:
        print(f"{address} has {len(client.nthreads())} workers now; more may come", flush=True)
        yield client.get_executor(resources=dict(per_task or {}))


def check_address(address: str) -> str:
    """Return ``address`` if it is written like a scheduler's; ValueError otherwise."""
    if not re.fullmatch(r"(tcp|tls)://[^/\s]+:\d+/?", address):
        raise ValueError(f"a scheduler's address is like tcp://login1:8786 or tls://login1:8786, got {address!r}")
    return address


def parse_resources(text: str) -> dict[str, float]:
    """What a task takes, from "GPU=1" or "GPU=1,MEMORY=16e9"; ValueError for anything else."""
    try:
        pairs = [part.split("=") for part in text.split(",") if part]
        return {name.strip(): float(number) for name, number in pairs}
    except ValueError as error:
        raise ValueError(f"what each task takes is given like GPU=1 or GPU=1,MEMORY=16e9, got {text!r}") from error


def is_loss(error: BaseException | None) -> bool:
    """Whether ``error`` is dask's word for a task whose workers died."""
    distributed = sys.modules.get("distributed")  # it is there if it is in use
    return distributed is not None and isinstance(error, distributed.KilledWorker)
