"""A run folder while it is trained in: made, locked against other processes, swept, and full disks named."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from suite.errors import InputError
from suite.files import sweep
from suite.training.folder import LOCK, RunFolder, is_follower, unfinished

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextmanager
def opened(run: RunFolder, whole: Path | None = None) -> Iterator[None]:
    """Hold a run folder, which is made where it is not there, against every other process.

    The system holds the lock and gives it up with the process, however that ends. What a crash left half-written is
    swept away. A folder in which nothing was written is removed again, and so is one of a new run that ended, for what
    its user got wrong, before anything was trained: the next try may have the same name.

    Args:
        run: the folder. One that this thread holds already may be opened again.
        whole: the folder of the run that this one is a part of, which a user would resume.

    Raises:
        InputError: another training is at work there, the folder cannot be written, or the disk is full.
    """
    with _disk_named(run.path, whole or run.path):
        if is_follower():
            yield
            return
        lock = _locked(run.path)
        new = not run.state_file.exists()
        try:
            if lock.lock_counter == 1:
                sweep(run.path)
                unfinished(run.checkpoint).unlink(missing_ok=True)
            yield
        except InputError:
            if new:
                _forget(run)
            raise
        finally:
            lock.release()
            if not lock.is_locked:
                _leave(run.path)


def _locked(folder: Path) -> FileLock:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # One object for all openings of this thread, which it counts.
        lock = FileLock(folder.resolve() / LOCK, is_singleton=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"another training is at work in {folder}; wait for its end, or name another folder"
        ) from error
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); name another folder for the run") from error
    return lock


def _forget(run: RunFolder) -> None:
    """Remove what a run writes down when it starts, where that is all there is."""
    begun = [run.state_file, run.config, *run.path.glob("events.out.tfevents.*")]
    if {path.name for path in run.path.iterdir()} <= {LOCK, *(path.name for path in begun)}:
        for path in begun:
            path.unlink(missing_ok=True)


def _leave(folder: Path) -> None:
    """Remove the folder where nothing but the lock came into it."""
    try:
        if [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()
    except OSError:
        pass  # somebody else has opened it in the meantime


@contextmanager
def _disk_named(folder: Path, whole: Path) -> Iterator[None]:
    """Say in one line that the disk is full."""
    print_thread = threading.excepthook

    def not_twice(failed: threading.ExceptHookArgs) -> None:
        # TensorBoard writes in a thread of its own, and raises here what happened there.
        if failed.exc_value is None or _no_room(failed.exc_value) is None:
            print_thread(failed)

    threading.excepthook = not_twice
    try:
        yield
    except Exception as error:
        if (reason := _no_room(error)) is None:
            raise
        raise InputError(
            f"{folder} cannot be written: {reason}; make room, then go on with --resume {whole}"
        ) from error
    finally:
        threading.excepthook = print_thread


def _no_room(error: BaseException) -> str | None:
    """What a full disk is called in an error, or None where it is something else."""
    if isinstance(error, OSError):
        return error.strerror if error.errno in _NO_ROOM else None
    # safetensors has the system's words in an error of its own.
    words = str(error)
    return "No space left on device" if type(error).__name__ == "SafetensorError" and "os error 28" in words else None
