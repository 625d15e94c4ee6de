"""A file by its shipped name or by its path."""

from collections.abc import Mapping
from pathlib import Path

from cft.errors import CFTError, DataError
from cft.suggest import nearest


def find_file(
    name_or_path: str, shipped: Mapping[str, Path], kind: str, fault: type[CFTError] = DataError, suffix: str = ".yaml"
) -> Path:
    """The file of a shipped name, or the path as it is given.

    Args:
        shipped: the shipped files by name.
        kind: what is looked for, for messages: "problem".
        fault: the error to raise.
        suffix: the ending of such files.

    Raises:
        CFTError: of the class `fault`: there is no such file; it says the nearest name and all shipped ones.
    """
    if name_or_path in shipped:
        return shipped[name_or_path]
    try:
        path = Path(name_or_path).expanduser()
        if path.is_file():
            return path
        if name_or_path and path.is_dir():
            files = ", ".join(sorted(p.name for p in path.glob(f"*{suffix}"))[:8]) or "none"
            raise fault(f"{name_or_path}: is a folder. Name a {kind} file; {suffix} files in it: {files}.")
    except (OSError, RuntimeError) as error:  # RuntimeError: a home folder that is not known
        said = getattr(error, "strerror", None) or error
        raise fault(f"{name_or_path}: cannot be read ({said}). Name a {kind} or its file.") from None
    near = nearest(path.stem, shipped)
    meant = f" Did you mean {near}?" if near else ""
    raise fault(
        f"{name_or_path or repr('')}: there is no such {kind} or file.{meant} Shipped: {', '.join(shipped) or 'none'}."
    )


def by_stem(folder: Path, suffix: str) -> dict[str, Path]:
    """Name -> file of the files of a folder; the name is the file's, without its ending."""
    return {path.stem: path for path in sorted(folder.glob(f"*{suffix}"))}
