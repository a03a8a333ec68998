"""Run each run in its own process: peak memory is per run, and a crash does not end the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from robustlabels.comparison.storage import Row


def start_method(device: str = "cpu") -> str:
    """Return "fork" where it is safe: it can run any estimator, even with lambdas and classes defined in a notebook."""
    return "fork" if sys.platform == "linux" and device == "cpu" else "spawn"


def peak_mib() -> float | None:
    """Return the peak memory of this process in MiB, including Python, torch and the data."""
    try:
        resource = import_module("resource")
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _work(send: Connection, function: Callable[[], Row]) -> None:
    """Work in the new process: with one thread, and an error becomes a result."""
    # Ctrl-C reaches the parent, which ends this process; without a parent it ends itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    torch.set_num_threads(1)
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
        warnings.simplefilter("always")
        try:
            result = function()
        except Exception as error:
            name = type(error).__name__
            result = {"error": f"{name}: {error}", "traceback": traceback.format_exc()}
    said = list(dict.fromkeys(f"{w.category.__name__}: {w.message}"[:300] for w in caught))
    if said:
        result["warnings"] = said[:5]
    send.send(result | {"peak_mib": peak_mib()})
    send.close()


def in_processes(functions: Sequence[Callable[[], Row]], n_jobs: int, start_method: str) -> Iterator[tuple[int, Row]]:
    """Yield number and result of each function as it ends, at most ``n_jobs`` at the same time."""
    context: Any = multiprocessing.get_context(start_method)
    waiting = list(enumerate(functions))[::-1]
    running: dict[Any, tuple[int, Any]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < n_jobs:
                number, function = waiting.pop()
                receive, send = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(send, function))
                process.start()
                send.close()
                running[receive] = number, process
            ready = wait(list(running))
            for receive in [connection for connection in running if connection in ready]:
                number, process = running[receive]
                try:
                    result = receive.recv()
                except EOFError:
                    process.join()
                    status = process.exitcode
                    result = {"error": f"the process ended with status {status}" + (" (killed)" if status < 0 else "")}
                process.join()
                del running[receive]
                yield number, result
    finally:
        for _, process in running.values():
            process.terminate()
            process.join()


def isolated(function: Callable[[], Row]) -> Row:
    """Call a function in a new process, and measure its peak memory.

    Parameters
    ----------
    function : callable
        Returns a dict.

    Returns
    -------
    dict
        The dict of the function, with ``peak_mib``.

    Raises
    ------
    RuntimeError
        If the function fails; the message is its traceback.
    """
    ((_, result),) = in_processes([function], 1, start_method())
    if result.get("error"):
        raise RuntimeError(result.get("traceback") or result["error"])
    result.pop("warnings", None)
    return result
