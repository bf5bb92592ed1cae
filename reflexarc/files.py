"""What the command line says about files that cannot be read or written, before and after it tried."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from hardware.errors import ConfigError

# The settings of commands that name a file or a folder to write.
_WRITTEN = ("out", "plots", "report", "folder")
# The machine's state, whatever file it is about.
_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# Wrong where a user named the file, a fault of ours otherwise.
_NAMED = (
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP),
)


def require_writable(config: object, *, folders: Sequence[str] = (), files: Sequence[str] = ()) -> None:
    """Refuse settings whose results could not be kept, before they are computed.

    Nothing is left behind: folders that are missing are made by whoever writes.

    Args:
        config: a command's settings.
        folders: those of them that name a folder, never a file.
        files: those of them that name a file, never a folder.

    Raises:
        ConfigError: a file or folder to write lies where nothing can be written, or a file is where a folder
            is wanted, or a folder where a file is.
    """
    for name, path in _written(config):
        if name in folders and path.exists() and not path.is_dir():
            raise ConfigError(
                f"{path} is a file",
                where=f"--{name} {path}",
                expected="a folder, or a path where one can be made",
                mend="give another path",
            )
        if name in files and path.is_dir():
            raise ConfigError(
                f"{path} is a folder",
                where=f"--{name} {path}",
                expected="a file, or a path where one can be made",
                mend=f"name a file in it, such as {path / 'result.json'}",
            )
        try:
            _try(path)
        except OSError as error:
            raise ConfigError(
                f"nothing can be written there ({error.strerror or error})",
                where=f"--{name} {path}",
                expected="a place where files can be written",
                mend="give another path",
            ) from None


def explain_os_error(error: OSError, words: Sequence[str]) -> ConfigError | None:
    """Say what is wrong with a file that a user named, or with the disk.

    Args:
        error: what reading or writing raised.
        words: the command line.

    Returns:
        The explanation; None where neither the user nor the machine can have caused it.
    """
    path = str(error.filename or "")
    named = bool(path) and any(_is_below(path, word) or _is_below(word, path) for word in words)
    if error.errno not in _MACHINE and not (named and error.errno in _NAMED):
        return None
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return ConfigError(
        error.strerror or str(error),
        where=path or " ".join(("reflexarc", *words)),
        expected="room on the disk" if is_full else "a path that can be read and written",
        mend="make room, or write to another disk; what was written is incomplete"
        if is_full
        else "correct the path, or its owner and mode",
    )


def _written(config: object) -> Iterator[tuple[str, Path]]:
    for name in _WRITTEN:
        value = getattr(config, name, None)
        if isinstance(value, str | Path):
            if not str(value):
                raise ConfigError(
                    "the path is empty", where=f"--{name}", expected="a file or folder", mend="give one"
                )
            yield name, Path(value)


def _try(path: Path) -> None:
    """Write nothing, where the path or the nearest folder above it is."""
    path = path.absolute()
    nearest = next(place for place in (path, *path.parents) if place.exists())
    if nearest.is_dir():
        with tempfile.TemporaryFile(dir=nearest):
            return
    if nearest != path:
        raise NotADirectoryError(errno.ENOTDIR, f"{nearest} is no folder", str(path))
    # Devices and pipes are the user's own affair.
    if path.is_file():
        with path.open("ab"):
            return


def _is_below(path: str, other: str) -> bool:
    """Whether a path is another one or lies below it."""
    if not other or other.startswith("-"):
        return False
    first, second = Path(path).absolute(), Path(other).absolute()
    return second != Path("/") and (first == second or second in first.parents)
