"""`cft doctor` on this machine, and on machines made to look worse."""

import io
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from packaging.utils import canonicalize_name
from rich.console import Console

from cft import gpus
from cft.cli import doctor
from cft.cli.doctor import Check, check, print_checks
from cft.gpus import Gpu, find_gpus, has_code, idle_gpu, nvidia_gpus, torch_backend
from cft.pipeline import run_stages
from tests.support.training import make_recipe

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.usefixtures("no_hub")


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {item.name: item for item in checks}


def fake_nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin" / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")


def test_every_question_is_answered(tmp_path: Path):
    checks = by_name(check(tmp_path / "runs"))

    assert {"python", "libraries", "gpu", "cpu", "memory", "disk: cache", "disk: runs", "model hub"} <= set(checks)
    assert checks["model hub"].status == checks["hub models"].status == "warn"
    assert str(tmp_path / "runs") in checks["disk: runs"].value
    assert "torch " in checks["libraries"].value
    assert all(item.hint or item.status == "ok" for item in checks.values() if item.name != "hub models")
    assert not (tmp_path / "cache").exists() and not (tmp_path / "runs").exists()


def test_torch_is_not_imported_where_there_is_no_gpu_to_ask():
    if torch_backend() is not None:
        pytest.skip("this torch may have to be asked")
    code = "import sys; from cft.cli.doctor import check; check(); sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def test_versions_are_held_against_bounds_and_tested_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "DISTRIBUTION", "a-distribution-that-is-not-installed")
    monkeypatch.setattr(doctor, "HERE", tmp_path / "cft")
    needs = ["pydantic>=2", "rich>=999", "PyYAML>=5", "no-such-library>=1", "gone; python_version < '3'"]
    (tmp_path / "pyproject.toml").write_text(f"[project]\ndependencies = {needs}\n")
    (tmp_path / "constraints.txt").write_text("# tested\npydantic==2.0.0\nrich==15.0.0\n")

    checks = by_name(doctor.check_libraries())
    assert set(checks) == {"libraries", "pydantic", "rich", "no-such-library"}
    assert checks["pydantic"].status == "warn" and "2.0.0" in checks["pydantic"].hint
    assert checks["rich"].status == "fail" and ">=999" in checks["rich"].hint
    assert checks["no-such-library"].status == "fail" and "pip install" in checks["no-such-library"].hint
    assert checks["libraries"].status == "fail" and "3 not as tested" in checks["libraries"].value


def test_a_version_that_was_tried_is_told_from_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "TRIED", {"torch": [(2, 6)]})
    tried, older, newer = (doctor.other_version("torch", here, "2.13.0") for here in ("2.6.1", "2.60", "3.0"))

    assert tried.status == "ok" and "Tested with 2.13.0" in tried.hint
    assert newer.status == "warn" and newer.hint == "Newer than the tested one (tried: 2.6): pip install torch==2.13.0"
    assert older.status == "warn"
    assert doctor.other_version("trl", "1.0", "1.16.0").hint == "Older than the tested one: pip install trl==1.16.0"


def test_the_constraints_that_are_shipped_name_what_we_need():
    tested = doctor.tested_versions()

    assert [need.name for need in doctor.requirements() if canonicalize_name(need.name) not in tested] == []


def test_gpus_are_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    answer = "NVIDIA GeForce RTX 3060, 12288, 8.6, 9000\\nTesla T4, 15360, 7.5, 3"
    fake_nvidia_smi(tmp_path, monkeypatch, f"printf '{answer}'")

    assert nvidia_gpus() == [
        Gpu("NVIDIA GeForce RTX 3060", 12288 << 20, True, 9000 << 20, "8.6"),
        Gpu("Tesla T4", 15360 << 20, False, 3 << 20, "7.5"),
    ]
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_86"])
    busy = doctor.check_gpus(nvidia_gpus(), "", "")
    assert busy.status == "warn" and "busy: 9.4 GB of NVIDIA GeForce RTX 3060 in use" in busy.value
    assert "nvidia-smi" in busy.hint and "T4 in use" not in busy.value
    fake_nvidia_smi(tmp_path, monkeypatch, "exit 9")
    assert nvidia_gpus() == [] and "nvidia-smi" in find_gpus()[1]
    fake_nvidia_smi(tmp_path, monkeypatch, "case $1 in *compute_cap*) exit 2;; esac; echo 'Tesla K80, 11441, 7'")
    assert nvidia_gpus() == [Gpu("Tesla K80", 11441 << 20, False, 7 << 20)]  # a driver that knows no compute_cap
    fake_nvidia_smi(tmp_path, monkeypatch, "printf 'A\\377, , ,\nA, B, C\nGB10, [N/A], 12.1, [N/A]\nT4, 9, 7.5, [N/A]'")
    assert nvidia_gpus() == [Gpu("T4", 9 << 20, False, 0, "7.5")]


def test_a_gpu_that_this_torch_cannot_use_is_pointed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if torch_backend() is not None:
        pytest.skip("this torch can use a GPU")
    fake_nvidia_smi(tmp_path, monkeypatch, "echo 'NVIDIA H100, 81559, 9.0, 10'")

    found = by_name(check())["gpu"]
    assert found.status == "warn" and "NVIDIA H100 is here" in found.value and "CUDA build" in found.hint


CARD = "'NVIDIA H100, 81559, 9.0, 10'"
TABLE = "'| NVIDIA-SMI 535.54.03   Driver Version: 535.54.03   CUDA Version: 12.2     |'"


def cuda_torch(monkeypatch: pytest.MonkeyPatch, *, available: bool) -> None:
    """Let torch say that it is built for CUDA 13, and whether it can use a card."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    "table, says, fix",
    [
        (TABLE, "driver 535.54.03 goes up to CUDA 12.2, and torch .* is built for 13.0", "Update the driver.*/cu126"),
        (TABLE.replace("CUDA Version: 12.2", "CUDA UMD Version: 11.4"), "goes up to CUDA 11.4", "/cu118"),
        (TABLE.replace("12.2", "13.1"), "torch cannot use it: ", "install driver and torch again"),
    ],
)
def test_a_driver_too_old_for_torch_is_told_with_both_versions(
    table: str, says: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cuda_torch(monkeypatch, available=False)
    fake_nvidia_smi(tmp_path, monkeypatch, f"case $1 in --query*) echo {CARD};; *) echo {table};; esac")

    found = by_name(check())["gpu"]
    assert found.status == "warn" and re.search(f"NVIDIA H100 is here, but .*{says}", found.value)
    assert re.search(fix, found.hint) and re.search(says, idle_gpu())


def test_what_computes_on_the_cpu_beside_a_card_says_so(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if torch_backend() is not None:
        pytest.skip("this torch can use a GPU")
    recipe = make_recipe(tiny_model, dtype="float32")
    for script, told in ((f"echo {CARD}", "NVIDIA H100 is here, but this torch is built without CUDA"), ("exit 9", "")):
        fake_nvidia_smi(tmp_path, monkeypatch, script)
        console = Console(file=io.StringIO(), width=200)
        run_stages(recipe, tmp_path / "runs", console, [])
        assert (told in console.file.getvalue()) and bool(told) == ("the CPU computes" in console.file.getvalue())


def test_a_card_that_torch_has_no_code_for_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cuda_torch(monkeypatch, available=True)
    fake_nvidia_smi(tmp_path, monkeypatch, "echo 'NVIDIA GeForce GTX 1080, 8192, 6.1, 10'")

    found = by_name(check())["gpu"]
    assert found.status == "warn" and "no code for NVIDIA GeForce GTX 1080 (6.1), only for sm_75" in found.value


@pytest.mark.parametrize(
    "capability, built, runs",
    [
        ("8.6", ["sm_80", "sm_90"], True),
        ("8.9", ["sm_90", "sm_120"], False),
        ("12.0", ["sm_90", "compute_90"], True),
        ("9.0", ["sm_90a"], True),
        ("7.5", ["sm_80", "compute_80"], False),
        ("gfx1100", ["gfx90a", "gfx1100"], True),
        ("gfx1036", ["gfx90a", "gfx1100"], False),
    ],
)
def test_code_runs_on_its_own_kind_of_card(capability: str, built: list[str], runs: bool):
    assert has_code(capability, built) == runs


def test_amd_gpus_are_those_that_torch_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "kfd").touch()
    monkeypatch.setattr(gpus, "AMD_DRIVER", (tmp_path / "kfd",))
    monkeypatch.setattr(torch.version, "hip", "7.1")
    monkeypatch.delenv("HIP_VISIBLE_DEVICES", raising=False)
    card = SimpleNamespace(name="AMD Radeon RX 7900 XTX", total_memory=24 << 30, gcnArchName="gfx1100:sramecc-")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: card)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["gfx1100"])
    for available, status, says in ((False, "warn", "torch cannot open it"), (True, "ok", "RX 7900 XTX, 25.8 GB, bf")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        found = by_name(check())["gpu"]
        assert found.status == status and says in found.value


def test_a_gpu_in_a_container_without_nvidia_smi_is_what_torch_names(tmp_path, monkeypatch):
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(gpus, "NVIDIA_DRIVER", tmp_path / "nvidiactl")
    assert gpus.find_gpus()[:2] == ([], "no NVIDIA driver answers (nvidia-smi)")
    card = SimpleNamespace(name="NVIDIA H100 80GB HBM3", total_memory=80 << 30, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: card)
    assert gpus.find_gpus() == ([Gpu("NVIDIA H100 80GB HBM3", 80 << 30, True, 0, "9.0")], "", "")


def test_a_missing_compiler_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)

    (found,) = doctor.check_faster([])
    assert found.status == "warn" and "no compiler (g++)" in found.value
    (tmp_path / "g++").touch(0o755)
    assert doctor.check_faster([])[0].status == "ok"


@pytest.mark.parametrize(
    "gpus, flags, nf4, dtype, quantization",
    [
        ([Gpu("RTX 3060", 12 << 30, True)], set(), True, "ok", "yes"),
        ([Gpu("T4", 15 << 30, False)], {"amx_bf16"}, False, "warn", "no (no bitsandbytes)"),
        ([], {"avx512_bf16"}, True, "ok", "yes, on the CPU, which saves no memory there"),
        ([], set(), False, "warn", "no (no bitsandbytes)"),
    ],
)
def test_what_will_work_follows(gpus: list[Gpu], flags: set[str], nf4: bool, dtype: str, quantization: str):
    works = by_name(doctor.what_works(gpus, flags, hub=True, nf4=nf4))

    assert works["hub models"].value == "yes"
    assert works["model.dtype=bfloat16"].status == dtype
    assert works["model.quantization=nf4"].value == quantization


def test_a_folder_that_cannot_be_written_fails(tmp_path: Path):
    (tmp_path / "file").touch()

    found = doctor.check_disk("cache", tmp_path / "file" / "cft")
    assert found.status == "fail" and "CFT_CACHE" in found.hint


def test_a_faulty_models_file_does_not_stop_the_other_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "models.yaml").write_text("a: 1")
    monkeypatch.setenv("CFT_MODELS", str(tmp_path / "models.yaml"))

    assert by_name(check())["models.yaml"].status == "fail"


def test_the_printed_answer_holds_every_value_as_it_is():
    console = Console(file=io.StringIO(), width=200)
    print_checks([Check("a", "warn", "value [x]", "pip install 'one-problem-cft[gpu]'")], console)

    text = console.file.getvalue()
    assert "warn" in text and "value [x]" in text and "one-problem-cft[gpu]" in text
