"""Installs the pack that this file lies in. Needs no network, and nothing but Python and its torch.

    python3 install.py                  a venv in this folder, which sees the torch of that python3
    python3 install.py --into PYTHON    into this Python itself

Every part is checked by its sha256 before anything is unpacked. Exit codes: 0 ready, 2 something is missing or wrong.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

HOME = Path(__file__).resolve().parent
PROBE = """
import json, platform, sys, sysconfig
try:
    import importlib.metadata
    torch = importlib.metadata.version("torch")
except ImportError:  # no torch, or a Python so old that it lacks this
    torch = None
print(json.dumps({"python": "%d.%d" % sys.version_info[:2], "platform": f"{sys.platform}_{platform.machine()}",
    "torch": torch, "venv": sys.prefix != sys.base_prefix, "paths": sysconfig.get_paths()}))
"""


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def fail(text):
    sys.stderr.write(f"error: {text}\n")
    sys.exit(2)


def read_json(data, fault):
    try:
        return json.loads(data.decode())
    except ValueError:
        fail(fault)


def main(arguments):
    if arguments and (len(arguments) != 2 or arguments[0] != "--into"):
        fail(f"{' '.join(arguments)}: is not known.\n{__doc__}")
    pack = read_json((HOME / "manifest.json").read_bytes(), "manifest.json is damaged. Copy it again.")
    python = arguments[1] if arguments else sys.executable
    there = read_json(run([python, "-I", "-c", PROBE], f"asking {python} what it is"), f"{python} is no Python.")
    check_machine(pack, python, there)
    check_parts(pack)
    if (HOME / "env.sh").exists():
        (HOME / "env.sh").unlink()  # it is written again once all is installed
    say("all parts are whole; unpacking")
    safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(fileobj=Joined(HOME / name for name, _, _ in pack["parts"]), mode="r|") as archive:
        archive.extractall(str(HOME), **safe)
    pip, scripts = [python, "-m", "pip"], there["paths"]["scripts"]
    if not arguments:
        pip, scripts, python = make_venv(python, there)
    say(f"installing {len(pack['wheels'])} wheels for {python}")
    wheels = [str(HOME / "wheels" / name) for name in pack["wheels"]]
    run([*pip, "install", "--no-index", "--no-deps", "--no-cache-dir", "--no-compile", "--no-input", *wheels], "pip")
    run([python, "-c", f"import {', '.join(pack['imports'])}"], "importing what was installed")
    write_environment(scripts)
    tell(pack, there)


def run(command, what):
    """What a command prints; if it fails, its last words are the error."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))}
    environment["PIP_CONFIG_FILE"] = os.devnull
    pipe = subprocess.PIPE  # Python 3.6, which is to be told that it is old, has no capture_output
    done = subprocess.run(command, stdout=pipe, stderr=pipe, env=environment)
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        fail(f"{what} failed. Mend it, and start this again:\n{said[-2000:]}")
    return done.stdout


def check_machine(pack, python, there):
    """End with all that keeps the pack from working here."""
    faults = []
    if there["python"] != pack["python"]:
        faults.append(f"the pack is for Python {pack['python']}, {python} is Python {there['python']}")
    if there["platform"] != pack["platform"]:
        faults.append(f"the pack is for {pack['platform']}, this machine is {there['platform']}")
    if there["torch"] is None:
        faults.append(f"{python} has no torch, and the pack has none either")
    owed, free = pack["installed_bytes"], shutil.disk_usage(str(HOME)).free
    if free < owed:
        faults.append(f"the disk of {HOME} has {free / 1e6:,.0f} MB free, {owed / 1e6:,.0f} MB are needed")
    if faults:
        fix = "Start this with a Python that fits and has torch, free some disk, or pack again with --python"
        fail(f"{'; '.join(faults)}. {fix}.")


def check_parts(pack):
    """End with the names of all parts that are missing or damaged."""
    bad = []
    for name, size, sha256 in pack["parts"]:
        digest, path = hashlib.sha256(), HOME / name
        if path.is_file() and path.stat().st_size == size:
            with path.open("rb") as file:
                for block in iter(lambda: file.read(1 << 22), b""):
                    digest.update(block)
        if digest.hexdigest() != sha256:
            bad.append(f"{name} is {'damaged' if path.exists() else 'missing'}")
    if bad:
        whole = len(pack["parts"]) - len(bad)
        fail(f"{whole} of {len(pack['parts'])} parts are whole; {', '.join(bad)}. Copy again, and start this again.")


class Joined:
    """Files end to end, as tarfile reads them."""

    def __init__(self, paths):
        self.paths, self.file = list(paths), None

    def read(self, count):
        data = self.file.read(count) if self.file else b""
        while not data and self.paths:
            self.file = self.paths.pop(0).open("rb")
            data = self.file.read(count)
        return data


def make_venv(python, there):
    """A new venv that sees what `python` has, torch above all: the command of its pip, its scripts, its Python."""
    venv, inner = HOME / "venv", str(HOME / "venv" / "bin" / "python")
    shutil.rmtree(str(venv), ignore_errors=True)
    make = [python, "-m", "venv", "--system-site-packages", str(venv)]
    pip = [inner, "-m", "pip"]
    if subprocess.run(make, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:  # Debian lacks ensurepip
        run([*make, "--without-pip"], "making a venv")
        pip = [python, "-m", "pip", "--python", inner]
    if there["venv"]:  # its packages are not those of the system
        folders = sorted({there["paths"]["purelib"], there["paths"]["platlib"]})
        line = "import site; " + "; ".join(f"site.addsitedir({folder!r})" for folder in folders)
        site = venv / "lib" / f"python{there['python']}" / "site-packages"
        (site / "machine.pth").write_text(f"{line}\n", encoding="utf-8")
    return pip, str(venv / "bin"), inner


def write_environment(scripts):
    """The file that a shell reads before `cft`: where things are, and that there is no network."""
    cache = HOME / "cache"
    values = {"CFT_CACHE": cache, "HF_HOME": cache, "HF_HUB_CACHE": HOME / "hub", "HF_HUB_OFFLINE": 1}
    values.update({"MPLCONFIGDIR": cache / "matplotlib", "PIP_NO_INDEX": 1})
    if (cache / "models.yaml").exists():
        values["CFT_MODELS"] = cache / "models.yaml"
    lines = [f"export {key}={shlex.quote(str(value))}\n" for key, value in values.items()]
    lines.append(f"export PATH={shlex.quote(scripts)}:$PATH\n")
    (HOME / "env.sh").write_text("".join(lines), encoding="utf-8")


def tell(pack, there):
    """What differs from the tested versions, and what to do next."""
    say(f"torch {there['torch']} is this machine's own; tested with {pack['torch']}")
    first, oldest = ([int(part) for part in re.findall(r"\d+", one)[:2]] for one in (there["torch"], pack["oldest"]))
    if first < oldest:
        say(f"warning: torch {pack['oldest']} is the oldest that this is known to work with")
    for note in pack["notes"]:
        say(f"note: {note}")
    say(f"ready: cd {shlex.quote(str(HOME / 'work'))} && . ../env.sh && cft run recipe.yaml")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:
        fail(f"{error}. Is the pack whole, can {HOME} be written?")
    except KeyboardInterrupt:
        fail("stopped. Start it again.")
