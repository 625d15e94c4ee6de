"""The wheels of a pack: those needed on its Python and platform, which are kept in the cache, and the project's own."""

import io
import re
import tempfile
import threading
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from cft.cache import cache_folder
from cft.errors import CFTError
from cft.files import listed
from cft.models.wheels import NoIndexError, UnreachableError, pip_download, run_pip
from cft.recipe.shipped import recipes_folder
from cft.terminal import Terminal, text_column

DISTRIBUTION = "one-problem-cft"
MACHINES = {"linux_x86_64": "x86_64", "linux_aarch64": "aarch64"}  # platform -> platform.machine()
# Those for old systems first: clusters keep theirs for years. pip wants each by its name.
SYSTEMS = ["manylinux1", "manylinux2010", "manylinux2014", *(f"manylinux_2_{minor}" for minor in range(5, 40))]
SPARED = {"pycosat": "only reasoning_gym's zebra puzzles need it, and nothing here asks them"}  # where it has no wheel
AT_ONCE = 4  # downloads
PACKED = 0.35  # a wheel's bytes in those of the installed package, about
CODE = Path(__file__).parents[2]  # the folder that cft, data_builders and eval stand in
DATE = (1980, 1, 1, 0, 0, 0)  # of all files in our wheel: the same bytes each time


@dataclass(frozen=True)
class Target:
    """What a pack is for: a Python, as "3.12", and a name of MACHINES. Raises CFTError for others."""

    python: str
    platform: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"3\.(1[1-9]|[2-9]\d)", self.python):
            raise CFTError(f"--python {self.python!r}: is no Python that this runs on. Write 3.11 or newer, as 3.12.")
        if self.platform not in MACHINES:
            raise CFTError(f"--platform {self.platform!r}: is not known. Write one of {', '.join(MACHINES)}.")

    def __str__(self) -> str:
        return f"Python {self.python} on {self.platform}"

    @property
    def cache(self) -> Path:
        """The folder of its wheels, NAME==VERSION/FILE."""
        return cache_folder() / "wheels" / f"{self.python}-{self.platform}"

    @property
    def pip_options(self) -> list[str]:
        """For `pip download`."""
        names = [word for system in SYSTEMS for word in ("--platform", f"{system}_{MACHINES[self.platform]}")]
        return ["--implementation", "cp", "--python-version", self.python, *names]

    def wheel(self, need: str) -> Path | None:
        """The cached wheel of NAME==VERSION."""
        return next((self.cache / need).glob("*.whl"), None)

    def asks(self, name: str, extras: Iterable[str] = ()) -> list[Requirement]:
        """What an installed package with these extras asks for on this target."""
        there = {"python_version": self.python, "python_full_version": f"{self.python}.0", "sys_platform": "linux"}
        there |= {"platform_system": "Linux", "platform_machine": MACHINES[self.platform], "os_name": "posix"}
        needs = [Requirement(line) for line in requires(name) or []]
        wanted = [there | {"extra": extra} for extra in ("", *extras)]
        return [need for need in needs if not need.marker or any(need.marker.evaluate(one) for one in wanted)]


def needed(target: Target, extras: Sequence[str], pins: Mapping[str, str]) -> list[str]:
    """NAME==VERSION of all that this project with these extras needs there, but torch and what only torch needs.

    Args:
        pins: normal name -> version that this project was tested with.

    Raises:
        CFTError: something needed has no pin.
    """
    todo, found, unknown = target.asks(DISTRIBUTION, extras), set(), set()
    seen = {("torch", ""), ("setuptools", "")}  # the machine's own, with CUDA's libraries and triton
    while todo:
        need = todo.pop()
        key = name, _ = canonicalize_name(need.name), ",".join(sorted(need.extras))
        if key in seen:
            continue
        seen.add(key)
        (found if name in pins else unknown).add(f"{name}=={pins.get(name)}")
        with suppress(PackageNotFoundError):  # needed there and not here
            todo += target.asks(name, need.extras)
    if unknown:
        names = ", ".join(sorted(one.partition("==")[0] for one in unknown))
        raise CFTError(f"constraints.txt has no version of {names}, needed for {target}. Add one, as NAME==VERSION.")
    return sorted(found)


def likely_bytes(need: str) -> float:
    """Of a wheel that is not there yet, by what the package takes here."""
    try:
        return PACKED * sum(file.size or 0 for file in distribution(need.partition("==")[0]).files or [])
    except PackageNotFoundError:
        return 1e6


def gather(needs: Sequence[str], target: Target, console: Terminal) -> tuple[list[Path], list[str]]:
    """The wheels of all NAME==VERSION, and a sentence on each that is left out.

    Raises:
        CFTError: naming all that have no wheel for the target, or that are missing where the index does not answer.
    """
    stop, faults = threading.Event(), {}
    columns = text_column("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()

    def fetch(need: str) -> None:
        try:
            if not stop.is_set() and not target.wheel(need):
                _fetch(need, target, stop)
        except UnreachableError as error:
            faults[need] = error
            if isinstance(error, NoIndexError):
                stop.set()
        progress.advance(bar)

    with Progress(*columns, console=console, transient=True) as progress, ThreadPoolExecutor(AT_ONCE) as pool:
        bar = progress.add_task("wheels", total=len(needs))
        try:
            list(pool.map(fetch, needs))
        finally:
            stop.set()
    missing = {need: need.partition("==")[0] for need in needs if not target.wheel(need)}
    lost = [need for need, name in missing.items() if name not in SPARED]
    if lost and (offline := [error for error in faults.values() if isinstance(error, NoIndexError)]):
        raise CFTError(
            f"{offline[0]}. Give the same command with a network: {len(needs) - len(missing)} of {len(needs)} wheels "
            f"are cached in {target.cache}, missing are\n  {listed(lost, 20)}"
        )
    if lost:
        fix = "Pack for another --python or --platform"
        reasons = listed([str(faults[need]) for need in lost], len(lost))
        raise CFTError(f"{len(lost)} packages have no wheel for {target}. {fix}.\n  {reasons}")
    left_out = [f"{need} has no wheel for {target}; {SPARED[name]}" for need, name in missing.items()]
    return [wheel for need in needs if (wheel := target.wheel(need))], left_out


def _fetch(need: str, target: Target, stop: threading.Event) -> None:
    """Put one wheel into the cache, by one rename: downloaded, or built here where it is pure Python."""

    def watch(_: int) -> None:
        if stop.is_set():
            raise UnreachableError("stopped")

    target.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.cache, prefix=f".{need}-") as staging:
        folder, whole = Path(staging), Path(staging, "whole")
        try:
            wheel = pip_download(need, folder, watch, "--retries", "2", *target.pip_options)
        except UnreachableError as error:
            if isinstance(error, NoIndexError) or not _is_pure(need):
                raise
            wheel = run_pip("wheel", need, folder, watch, "--wheel-dir", str(folder))
        whole.mkdir()
        wheel.rename(whole / wheel.name)
        with suppress(OSError):  # another process was faster
            whole.rename(target.cache / need)


def _is_pure(need: str) -> bool:
    """Whether the package that is installed here would run on any machine."""
    try:
        return "Tag: py3-none-any" in (distribution(need.partition("==")[0]).read_text("WHEEL") or "")
    except PackageNotFoundError:
        return False


def own_wheel() -> tuple[str, bytes]:
    """File name and bytes of this project as a wheel, whether it runs from a checkout or is installed."""
    recipes, constraints, info = recipes_folder(), CODE / "constraints.txt", distribution(DISTRIBUTION)
    code = [path for top in ("cft", "data_builders", "eval") for path in (CODE / top).rglob("*")]
    files = {path.relative_to(CODE).as_posix(): path for path in code}
    files |= {f"cft/_recipes/{path.relative_to(recipes).as_posix()}": path for path in recipes.rglob("*")}
    files |= {"cft/_constraints.txt": constraints} if constraints.is_file() else {}
    texts = {name: path.read_bytes() for name, path in files.items() if path.is_file() and "__pycache__" not in name}
    name = f"{DISTRIBUTION.replace('-', '_')}-{info.version}"
    about = {file: info.read_text(file) or "" for file in ("METADATA", "entry_points.txt")}
    about |= {"WHEEL": "Wheel-Version: 1.0\nGenerator: cft\nRoot-Is-Purelib: true\nTag: py3-none-any\n", "RECORD": ""}
    texts |= {f"{name}.dist-info/{file}": text.encode() for file, text in about.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for member in sorted(texts):
            archive.writestr(zipfile.ZipInfo(member, DATE), texts[member], zipfile.ZIP_DEFLATED)
    return f"{name}-py3-none-any.whl", out.getvalue()
