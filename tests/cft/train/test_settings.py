"""Settings that only the libraries can judge: refused before the first step, in their words, with the recipe's key."""

import pytest

from cft.errors import TrainError
from tests.support.training import make_recipe, run_train, write_examples

ARGS = {"max_steps": 1, "gradient_accumulation_steps": 1}


@pytest.mark.parametrize(
    ("lora", "args", "words"),
    [
        ({"target_modules": "q[_"}, {}, r"train\.lora\.target_modules=q\[_.*unterminated character set"),
        ({"rank_pattern": {"q_proj[": 4}}, {}, r"train\.lora\.rank_pattern=.*unterminated character set"),
        ({"alpha_pattern": {"(": 4}}, {}, r"train\.lora\.alpha_pattern=.*unterminated subpattern"),
        ({"exclude_modules": "("}, {}, r"train\.lora\.exclude_modules=.*unterminated subpattern"),
        ({"layers_to_transform": [0], "target_modules": ".*q_proj"}, {}, r"settings: train\.lora\.layers_to_transform"),
        ({"trainable_token_indices": [99_999]}, {}, r"train\.lora\.trainable_token_indices=.*out of bounds"),
        ({"init_lora_weights": "corda"}, {}, r"settings: train\.lora\.init_lora_weights=corda\n.*preprocess_corda"),
        ({"layer_replication": [[0, 2], [1, 2]]}, {}, r"train\.lora\.layer_replication=.*IndexError"),
        ({"lora_alpha": 10**400}, {}, r"train\.lora\.lora_alpha=.*OverflowError"),
        ({}, {"optim": "galore_adamw"}, r"settings: train\.args\.optim=galore_adamw\n.*install `galore_torch`"),
        ({}, {"optim": "lomo"}, r"settings: train\.args\.optim=lomo\n.*lomo"),
        ({}, {"use_liger_kernel": True}, r"settings: train\.args\.use_liger_kernel=True\n.*liger"),
        ({}, {"lr_scheduler_type": "cosine_with_min_lr"}, r"lr_scheduler_type=.*lr_scheduler_kwargs"),
        ({}, {"lr_scheduler_kwargs": {"nope": 1}}, r"train\.args\.lr_scheduler_kwargs=.*'nope'"),
        ({}, {"neftune_noise_alpha": 1e40}, r"train\.args\.neftune_noise_alpha=.*out of bounds"),
        (
            {},
            {"torch_compile": True, "torch_compile_backend": "nope"},
            r"torch_compile_backend=nope\n.*Invalid backend",
        ),
        (
            {},
            {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"nope": 1}},
            r"gradient_checkpointing_kwargs=.*Unexpected keyword arguments: nope",
        ),
        ({}, {"learning_rate": 1e300, "warmup_steps": 0}, "training diverged"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, dict) else "",
)
@pytest.mark.filterwarnings("ignore")
def test_the_librarys_complaint_names_the_recipes_key(tiny_model, tmp_path, lora, args, words) -> None:
    examples = write_examples(tmp_path / "examples.jsonl", 2)
    with pytest.raises(TrainError, match=f"(?s){words}"):
        run_train(make_recipe(tiny_model, ARGS | args, lora), examples, tmp_path / "run")
    assert not (tmp_path / "run" / "adapter").exists()


def test_a_fault_of_our_own_code_is_told_from_a_librarys() -> None:
    import torch

    from cft.devices import find_card
    from cft.train.loop.faults import is_ours

    for raising, ours in ((lambda: find_card(None), True), (lambda: torch.zeros(2).view(3), False)):
        with pytest.raises((AttributeError, RuntimeError)) as caught:
            raising()
        assert is_ours(caught.value) == ours
