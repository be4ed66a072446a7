"""Where the work of a sweep is done on this machine: in this process, or in worker processes of one thread each.

Both have the interface of ``concurrent.futures``, as have the executors of other libraries. :class:`Workers` exists
because the standard process pool is of no use any more once one of its workers has been killed, and takes the tasks of
all others with it: here a worker that dies fails its own task alone, and a new one takes its place.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import wait as wait_for
from queue import Empty, SimpleQueue

START_TRIES = 3  # how often a worker may fail to start before it is clear that none will


class WorkerLost(RuntimeError):
    """The process that worked on a task ended before the task did."""


class InProcess(Executor):
    """Does each task at once, here, when it is submitted."""

    def submit(self, function: Callable, /, *args, **kwargs) -> Future:
        """A future that is done; what ``function`` raises is in it, but for what ends the process."""
        future = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Workers(Executor):
    """Up to ``n`` worker processes, started when there is work for them, each replaced if it is lost.

    A task whose worker is lost raises :class:`WorkerLost`, and no other task is affected. Workers end with this
    process, also if it is killed, and Ctrl-C does not reach them: what happens then is this process's to decide.
    """

    def __init__(self, n: int):
        self._calls: SimpleQueue = SimpleQueue()
        self._pids: set[int] = set()
        self._can_start, self._killed = True, False
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(n)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable, /, *args, **kwargs) -> Future:
        """A future for ``function(*args, **kwargs)``, which must be picklable, as for any process pool."""
        future = Future()
        self._calls.put((future, partial(function, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers when all submitted tasks are done, or what has been begun if ``cancel_futures``."""
        with suppress(Empty):
            while cancel_futures:
                self._calls.get_nowait()[0].cancel()
        for _ in self._threads:
            self._calls.put((None, None))
        for thread in self._threads if wait else ():
            thread.join()

    def kill(self) -> None:
        """End the workers at once, whatever they do."""
        self._killed, self._can_start = True, False
        for child in multiprocessing.active_children():
            if child.pid in self._pids:
                child.kill()

    def _serve(self) -> None:
        """One thread, one worker: do tasks in turn until there is nothing more to come."""
        worker = None
        while (item := self._calls.get())[0] is not None:
            future, call = item
            if future.set_running_or_notify_cancel():
                try:
                    worker = worker or self._start()
                    if self._killed:  # while it started
                        raise CancelledError
                    future.set_result(worker.submit(call).result())
                except BrokenProcessPool:
                    worker = None
                    future.set_exception(WorkerLost("its worker process was killed, ran out of memory or crashed"))
                except BaseException as error:
                    future.set_exception(error)
        if worker:
            worker.shutdown()

    def _start(self) -> ProcessPoolExecutor:
        """A new worker that has answered once."""
        for _ in range(START_TRIES if self._can_start else 0):
            worker = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), end_with_parent)
            if hasattr(signal, "pthread_sigmask"):  # a process inherits it from the thread that starts it
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            with suppress(BrokenProcessPool):
                self._pids.add(worker.submit(os.getpid).result())
                return worker
        self._can_start = False
        raise RuntimeError(
            "no worker process can be started, see above; a script must call sweep under if __name__ == '__main__':"
        )


@contextmanager
def workers(n: int) -> Iterator[Workers]:
    """Up to ``n`` worker processes that end with this block, at once if the block is interrupted."""
    pool = Workers(n)
    try:
        yield pool
    except BaseException:
        pool.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent() -> None:
    """Let a worker end when its parent is killed; the pool by itself would leave it waiting for ever."""

    def watch() -> None:
        wait_for([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
