"""`cft doctor` on this machine, and on machines made to look worse."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from rich.console import Console

from cft.cli import doctor
from cft.cli.doctor import Check, Gpu, check, print_checks

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
    if doctor.torch_backend() is not None:
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


def test_the_constraints_that_are_shipped_name_what_we_need():
    tested = doctor.tested_versions()

    assert [need.name for need in doctor.requirements() if canonicalize_name(need.name) not in tested] == []


def test_gpus_are_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    answer = "NVIDIA GeForce RTX 3060, 12288, 8.6, 9000\\nTesla T4, 15360, 7.5, 3"
    fake_nvidia_smi(tmp_path, monkeypatch, f"printf '{answer}'")

    assert doctor.nvidia_gpus() == [
        Gpu("NVIDIA GeForce RTX 3060", 12288 << 20, True, 9000 << 20),
        Gpu("Tesla T4", 15360 << 20, False, 3 << 20),
    ]
    busy = doctor.check_gpu(doctor.nvidia_gpus(), "")
    assert busy.status == "warn" and "busy: 9.4 GB of NVIDIA GeForce RTX 3060 in use" in busy.value
    assert "nvidia-smi" in busy.hint and "T4 in use" not in busy.value
    fake_nvidia_smi(tmp_path, monkeypatch, "exit 9")
    assert doctor.nvidia_gpus() == []


def test_a_gpu_that_this_torch_cannot_use_is_pointed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if doctor.torch_backend() is not None:
        pytest.skip("this torch can use a GPU")
    fake_nvidia_smi(tmp_path, monkeypatch, "echo 'NVIDIA H100, 81559, 9.0, 10'")

    found = by_name(check())["gpu"]
    assert found.status == "warn" and "NVIDIA H100 is here" in found.value and "CUDA build" in found.hint


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
