"""Where a sweep's tasks are done on this machine, each with the interface of ``concurrent.futures``."""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

import psutil
from loky import ProcessPoolExecutor


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


class Workers(ThreadPoolExecutor):
    """Up to ``n`` worker processes, each in an executor of its own and replaced if it is lost.

    So a worker that dies fails its own task alone, with loky's BrokenProcessPool, which names the signal. Functions may
    be defined anywhere, also in a notebook. Workers, and what they have started, end with this process, also if it is
    killed; at once if the block ``with Workers(n)`` is interrupted, which is for this process to decide: neither Ctrl-C
    nor a closing terminal reaches them.
    """

    def __init__(self, n: int):
        super().__init__(n, initializer=_block_interrupts)  # a process inherits it from the thread that starts it
        self._workers: dict[int, ProcessPoolExecutor] = {}  # by thread
        self._killed = False

    def submit(self, function: Callable, /, *args, **kwargs) -> Future:
        """A future for ``function(*args, **kwargs)``."""
        return super().submit(self._in_worker, function, args, kwargs)

    def _in_worker(self, function: Callable, args: tuple, kwargs: dict) -> object:
        thread = threading.get_ident()
        if thread not in self._workers:
            self._workers[thread] = ProcessPoolExecutor(1, initializer=_end_with_parent, initargs=(os.getpid(),))
        if self._killed:  # asked after the worker has been noted, so that one started meanwhile is killed, too
            raise CancelledError
        try:
            return self._workers[thread].submit(function, *args, **kwargs).result()
        except BrokenProcessPool:
            self._workers.pop(thread).shutdown(wait=False)
            raise

    def __exit__(self, kind: type | None, *_) -> None:
        self._killed = kind is not None
        if self._killed:
            for worker in list(self._workers.values()):
                worker.shutdown(kill_workers=True)
        self.shutdown(cancel_futures=self._killed)
        for worker in self._workers.values():
            worker.shutdown()


def _block_interrupts() -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})


def _end_with_parent(parent: int) -> None:
    """Let a worker, and what it has started, end soon after its parent, ``parent`` by id, was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
