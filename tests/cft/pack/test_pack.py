"""What a pack holds and how it is cut; nothing of it needs a network."""

import os
import socket
import tarfile
from pathlib import Path

import pytest

from cft.errors import CFTError, EvalError
from cft.files import sha256_file, write_json
from cft.models.catalogue import RECORD
from cft.models.source import resolve
from cft.pack.contents import local_models, recipe_contents, recipe_text, take_model
from cft.pack.wheels import Target, gather, needed, own_wheel
from cft.pack.write import check_folder, part_bytes, write_pack
from cft.pipeline import file_hashes
from cft.recipe.blocks import ModelBlock, Recipe
from cft.recipe.load import load_recipe
from cft.terminal import Terminal
from tests.support.command import cft
from tests.support.tiny import write_gguf, write_wheel

ABOUT = {"recipe": "r", "python": "3.12", "platform": "linux_x86_64", "torch": "2.13.0", "oldest": "2.6"}
ABOUT |= {"installed_bytes": 1000, "imports": [], "notes": ["something is left out"]}
TARGET = Target("3.12", "linux_x86_64")


def unpack(folder: Path, manifest: dict, to: Path) -> None:
    (to / "joined").parent.mkdir(exist_ok=True)
    (to / "joined").write_bytes(b"".join((folder / name).read_bytes() for name, *_ in manifest["parts"]))
    with tarfile.open(to / "joined") as archive:
        archive.extractall(to, filter="data")


def test_the_same_files_make_the_same_parts_none_larger_than_asked_for(tmp_path):
    content = os.urandom(150_000)
    (tmp_path / "large").write_bytes(content)
    files = {"work/b": b"small", "work/a": tmp_path / "large"}
    made = write_pack(tmp_path / "pack", files, ABOUT, 64_000)
    first = {path.name: path.read_bytes() for path in (tmp_path / "pack").iterdir()}
    os.utime(tmp_path / "large", (1, 1))
    write_pack(tmp_path / "pack", dict(reversed(files.items())), ABOUT, 64_000)

    assert {path.name: path.read_bytes() for path in (tmp_path / "pack").iterdir()} == first
    assert set(first) == {"part-001", "part-002", "part-003", "manifest.json", "install.py", "README.md"}
    assert [length for _, length, _ in made["parts"]][:2] == [64_000, 64_000]
    unpack(tmp_path / "pack", made, tmp_path / "there")
    assert (tmp_path / "there/work/a").read_bytes() == content and (tmp_path / "there/work/b").read_bytes() == b"small"

    write_pack(tmp_path / "pack", {"work/b": b"small"}, ABOUT, 1 << 50)  # parts that it has no more are gone
    assert {path.name for path in (tmp_path / "pack").glob("*part*")} == {"part-001"}


@pytest.mark.parametrize(("split", "words"), [("lots", "no size"), ("0MB", "999 parts"), ("1kB", "999"), ("60", "999")])
def test_a_split_that_is_no_size_or_too_small_is_refused(split, words):
    assert part_bytes("60MB", 1e9) == 60_000_000 < part_bytes("60MiB", 1e9) < part_bytes(None, 1e9)
    with pytest.raises(CFTError, match=words):
        part_bytes(split, 1e9)


def test_a_folder_of_other_things_is_left_alone_and_a_pack_that_was_begun_is_not(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CFTError, match="holds other things"):
        check_folder(tmp_path)
    for place in (tmp_path / "notes.txt", tmp_path / "notes.txt/pack"):
        with pytest.raises(CFTError, match=r"notes.txt cannot be written"):
            check_folder(place)
    (tmp_path / "notes.txt").rename(tmp_path / "part-notes")
    with pytest.raises(CFTError, match="holds other things"):
        check_folder(tmp_path)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/part-001").touch()
    (tmp_path / "begun/.part-002.1.tmp").touch()
    check_folder(tmp_path / "begun")
    check_folder(tmp_path / "new")
    (tmp_path / "begun/part-002").mkdir()
    with pytest.raises(CFTError, match="holds other things"):
        check_folder(tmp_path / "begun")


@pytest.mark.parametrize(
    ("python", "platform"), [("3.10", "linux_x86_64"), ("python3", "linux_x86_64"), ("3.12", "os2")]
)
def test_an_unknown_python_or_platform_is_refused(python, platform):
    with pytest.raises(CFTError, match="--p"):
        Target(python, platform)


def test_all_that_the_project_needs_is_named_but_torch_and_what_only_torch_needs():
    pins = {"torch": "2.13.0"} | dict(line.split("==") for line in normal_constraints())
    names = {need.partition("==")[0] for need in needed(TARGET, [], pins)}
    assert {"transformers", "trl", "lm-eval", "numpy", "tokenizers", "reasoning-gym"} <= names
    assert not {name for name in names if name.startswith(("torch", "nvidia", "triton", "pytest", "bitsandbytes"))}
    assert "bitsandbytes" in {need.partition("==")[0] for need in needed(TARGET, ["gpu"], pins)}
    del pins["tokenizers"]
    with pytest.raises(CFTError, match=r"no version of tokenizers, needed for Python 3\.12 on linux_x86_64"):
        needed(TARGET, [], pins)


def normal_constraints() -> list[str]:
    from cft.cli.doctor import tested_versions

    return [f"{name}=={pin}" for name, pin in tested_versions().items()]


@pytest.fixture
def wheels(tmp_path, monkeypatch) -> Path:
    """A folder of wheels that is all pip can see, and an empty cache."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("CFT_CACHE", str(tmp_path / "cache"))
    write_wheel(tmp_path, "tiny_part", b"x")
    return tmp_path


def test_wheels_are_kept_and_what_has_none_is_named_unless_nothing_asks_it(wheels, monkeypatch):
    found, left_out = gather(["pycosat==0.6.6", "tiny-part==1.0"], TARGET, Terminal(stderr=True))
    assert [path.name for path in found] == ["tiny_part-1.0-py3-none-any.whl"]
    assert len(left_out) == 1 and "zebra" in left_out[0]
    next(wheels.glob("*.whl")).unlink()
    assert gather(["tiny-part==1.0"], TARGET, Terminal(stderr=True)) == (found, [])
    with pytest.raises(CFTError, match=r"(?s)2 packages have no wheel for Python 3\.12.*absent==1.*other==2"):
        gather(["absent==1", "other==2", "tiny-part==1.0"], TARGET, Terminal(stderr=True))


def test_without_a_network_it_is_said_what_is_cached_and_what_is_missing(wheels, monkeypatch):
    gather(["tiny-part==1.0"], TARGET, Terminal(stderr=True))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
        with pytest.raises(CFTError, match=r"(?s)index.*1 of 2 wheels are cached in .*missing are\n  absent==1"):
            gather(["absent==1", "tiny-part==1.0"], TARGET, Terminal(stderr=True))


def test_a_recipe_finds_all_its_files_where_it_is_unpacked(tmp_path, monkeypatch, tiny_model):
    """Files below the working folder keep their places; others get one."""
    here, there, far = (tmp_path / name for name in ("here", "there", "far"))
    (here / "data").mkdir(parents=True)
    far.mkdir()
    monkeypatch.chdir(here)
    bakery = load_recipe("smoke")
    shipped = Path(file_of("problems/bakery.yaml"))
    Path("mine.yaml").write_bytes(shipped.read_bytes())
    (far / "critiques.jsonl").write_bytes(Path(file_of("critiques/bakery.jsonl")).read_bytes())
    Path("data/math500.jsonl").write_text('{"problem": "1+1?", "answer": "2"}\n')
    value = bakery.model_dump(mode="json")
    value["model"]["id"] = str(tiny_model)
    value["data"] |= {"problems": ["mine.yaml", "museum"], "students": [{"model": "tiny.gguf", "samples": 1}]}
    write_gguf(here / "tiny.gguf")
    value["data"]["teachers"] = [{"kind": "exact"}, {"kind": "file", "path": str(far / "critiques.jsonl")}]
    value["eval"] |= {"tasks": ["cft_math500", "cft_wordproblems"], "data_dir": str(here / "data")}
    recipe = Recipe.model_validate(value)

    found = recipe_contents(recipe)
    for key, block in local_models(recipe).items():
        take_model(found, key, block)
    assert found.items == {"cft_math500": 1} and not found.notes
    files = found.files | {"work/recipe.yaml": recipe_text(recipe, found.renamed).encode()}
    unpack(tmp_path / "pack", write_pack(tmp_path / "pack", files, ABOUT, 1 << 50), there)
    before, identity, gguf = file_hashes(recipe), resolve(recipe.model).identity, sha256_file(here / "tiny.gguf")

    for folder in (here, far):
        folder.rename(folder.with_name(f"{folder.name}-gone"))
    monkeypatch.chdir(there / "work")
    unpacked = load_recipe("recipe.yaml")
    assert sorted(file_hashes(unpacked).values()) == sorted(before.values())
    assert resolve(unpacked.model).identity == identity
    assert unpacked.eval.data_dir == "./data" and unpacked.data.problems == ["mine.yaml", "museum"]
    assert resolve(local_models(unpacked)["data.students.0.model"], fetch=False).sha256 == gguf


def test_a_folder_of_conversations_goes_along_with_what_is_read_of_it_and_a_word_on_secrets(tmp_path, monkeypatch):
    (tmp_path / "logs/x.json").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name in ("a.jsonl", "b.jsonl.bak", "c.json5", "x.json/d.json"):
        Path("logs", name).write_text("{}")
    value = load_recipe("smoke").model_dump(mode="json")
    value["data"] = {"builder": "trajectories", "path": "logs"}
    found = recipe_contents(Recipe.model_validate(value))
    assert {name for name in found.files if "logs" in name} == {"work/logs/a.jsonl", "work/logs/x.json/d.json"}
    assert "secrets" in found.notes[0]


def test_tasks_of_ones_own_keep_their_places_and_must_be_below_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "a/tasks").mkdir(parents=True)
    (tmp_path / "a/rows").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    Path("rows/test.jsonl").write_text('{"question": "1+1?"}\n')
    Path("common.yml").write_text("dataset_path: ./rows\n")
    Path("tasks/mine.yaml").write_text("task: mine\ninclude: ../common.yml\n")
    own = ["eval.tasks=[mine]", f"eval.task_dir={tmp_path / 'a/tasks'}"]
    found = recipe_contents(load_recipe("smoke", own))
    assert set(found.files) == {"work/tasks/mine.yaml", "work/common.yml", "work/rows/test.jsonl"}
    assert found.renamed == {"eval.task_dir": "./tasks"}
    Path("common.yml").write_text("dataset_path: org/rows\n")
    with pytest.raises(EvalError, match="mine: its items are org/rows on the hub"):
        recipe_contents(load_recipe("smoke", own))
    monkeypatch.chdir(tmp_path / "a/rows")
    with pytest.raises(EvalError, match=f"Give the command in {tmp_path / 'a'}, with"):
        recipe_contents(load_recipe("smoke", own))


def file_of(name: str) -> str:
    from cft.recipe.shipped import recipes_folder

    return str(recipes_folder() / name)


def test_a_model_of_the_hub_and_one_with_a_name_are_found_by_the_same_id(tmp_path, monkeypatch, no_hub, tiny_model):
    import huggingface_hub.constants as constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "hub/hub/models--org--model/snapshots" / commit
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(tiny_model)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text(commit)
    record = {"kind": "hub", "note": "", "folder": str(snapshot), "hub_id": "org/model", "revision": commit}
    write_json(tmp_path / "cache/models/gemma3-270m" / RECORD, record)
    block, named = ModelBlock(id="org/model"), ModelBlock(id="gemma3-270m")
    before = resolve(block).identity
    assert resolve(named).identity == before
    found = recipe_contents(load_recipe("smoke"))
    take_model(found, "model.id", block)
    take_model(found, "data.students.0.model", named)
    unpack(tmp_path / "pack", write_pack(tmp_path / "pack", found.files, ABOUT, 1 << 50), tmp_path / "there")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "there/hub"))
    monkeypatch.setenv("CFT_CACHE", str(tmp_path / "there/cache"))
    snapshot.unlink()
    assert resolve(block).identity == before == {"kind": "hub", "hub_id": "org/model", "revision": commit}
    assert resolve(named).identity == before and "there" in resolve(named).location
    assert not found.renamed


def test_the_command_says_sizes_servers_and_what_is_lacking(tmp_path, monkeypatch):
    monkeypatch.setenv("CFT_CACHE", str(tmp_path / "cache"))
    done = cft("pack", "smoke", "--to", "x", "--plan", cwd=tmp_path)
    assert done.returncode == 0 and "wheels for Python 3." in done.stdout and "model smollm2-135m" in done.stdout
    assert not (tmp_path / "x").exists()
    served = cft("pack", "llm_teacher", "--to", "x", "--plan", cwd=tmp_path)
    assert "which must be reached there" in " ".join(served.stderr.split())
    (tmp_path / "data").mkdir()
    (tmp_path / "keep").write_text("mine")
    lacking = cft("pack", "smoke", "eval.tasks=[cft_math500]", "--to", "x", "--data", "data", cwd=tmp_path)
    assert lacking.returncode == 2 and "has no file for it" in lacking.stderr
    full = cft("pack", "smoke", "--to", ".", cwd=tmp_path)
    assert full.returncode == 2 and "holds other things" in full.stderr
    assert (tmp_path / "keep").read_text() == "mine"


def test_the_wheel_of_the_project_has_its_code_recipes_and_commands():
    name, data = own_wheel()
    again, same = own_wheel()
    assert (name, data) == (again, same) and name.endswith("-py3-none-any.whl")
    for member in (b"cft/_recipes/smoke.yaml", b"cft/_constraints.txt", b"eval/tasks/math500/", b"entry_points.txt"):
        assert member in data
    assert b"__pycache__" not in data
