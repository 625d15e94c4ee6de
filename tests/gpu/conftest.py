"""The device of the tests in this folder: the GPU where there is one, or what CFT_TEST_DEVICE names."""

import os

import pytest

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as commands do that compute
ASKED = os.environ.get("CFT_TEST_DEVICE")
if ASKED == "cpu":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch looks: what the tests start sees no GPU either


@pytest.fixture(scope="session", autouse=True)
def device() -> str:
    """cuda, mps or cpu. Products of float32 are float32 there."""
    import torch

    from cft.devices import pick_device

    found = pick_device()
    assert ASKED in (None, found), f"CFT_TEST_DEVICE is {ASKED}, but torch finds {found}"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return found


@pytest.fixture
def need_gpu(device):
    """Skips the test, with what of it only a GPU has."""

    def skip_without(what: str) -> None:
        if device != "cuda":
            pytest.skip(f"only a GPU has {what}")

    return skip_without
