"""`train.lora` and `train.args` against the installed PEFT and TRL."""

import os

import pytest

from cft.errors import RecipeError
from cft.recipe.library_args import device_faults
from cft.recipe.library_args import library_faults as faults_of
from cft.recipe.load import load_recipe
from cft.recipe.shipped import list_recipes
from tests.cft.conftest import GOOD


@pytest.fixture
def library_faults(tmp_path, monkeypatch):
    """`KEY: what is said` for each fault of these keys of the libraries, the same when asked twice."""
    monkeypatch.setenv("CFT_CACHE", str(tmp_path / "cache"))

    def said(**blocks: dict) -> dict[str, str]:
        first, again = (faults_of({"method": "cft"} | blocks, "bfloat16") for _ in range(2))
        assert first == again
        return {fault.key.removeprefix("train."): f"{fault.fault}. {fault.fix}." for fault in first}

    return said


@pytest.mark.parametrize("name", list_recipes())
def test_the_libraries_accept_the_shipped_recipes(name: str):
    load_recipe(name, libraries=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lora.target_modules", "all-linear"),
        ("lora.target_modules", ["q_proj", "v_proj"]),
        ("lora.init_lora_weights", "pissa_niter_4"),
        ("lora.init_lora_weights", False),
        ("lora.layer_replication", [[0, 4], [2, 5]]),
        ("lora.rank_pattern", {"q_proj": 4}),
        ("lora.task_type", "CAUSAL_LM"),
        ("lora.eva_config", None),
        ("args.learning_rate", 1),
        ("args.lr_scheduler_type", "constant_with_warmup"),
        ("args.lr_scheduler_kwargs", {"num_cycles": 2}),
        ("args.max_length", None),
        ("args.warmup_steps", 0.1),
        ("args.bf16", False),
    ],
)
def test_what_the_libraries_take_is_accepted(key: str, value, library_faults):
    block, name = key.split(".")
    assert library_faults(**{block: {name: value}}) == {}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("lora.alpha", 3, "unknown key of peft.LoraConfig. Did you mean lora_alpha?"),
        ("lora.rank", 3, "unknown key of peft.LoraConfig. Did you mean r?"),
        ("lora.zzzz", 3, "unknown key of peft.LoraConfig. The documentation of peft.LoraConfig lists its keys"),
        ("lora.learning_rate", 1e-4, "is a key of trl.SFTConfig. Move it to train.args."),
        ("lora.r", 0, "must be greater than 0."),
        ("lora.r", "many", "must be int. Correct it"),
        ("lora.r", True, "must be int."),
        ("lora.lora_alpha", "32", "must be int. Write it without quotes."),
        ("lora.lora_dropout", 1, "must be 0 or more and less than 1."),
        ("lora.use_rslora", "yes", "must be bool. Write true or false."),
        ("lora.bias", "lora-only", "is not known. Did you mean lora_only?"),
        ("lora.init_lora_weights", "loftq", "peft.LoraConfig says: `loftq_config` must be specified"),
        ("lora.eva_config", {"rho": 2}, "takes an object of the library, which YAML cannot hold."),
        ("lora.task_type", "SEQ_CLS", "the base is a causal language model."),
        ("lora.base_model_name_or_path", "x", "is not set here. The model block names the base."),
        ("args.r", 8, "is a key of peft.LoraConfig. Move it to train.lora."),
        ("args.lr", 1e-4, "unknown key of trl.SFTConfig. Did you mean learning_rate?"),
        ("args.max_seq_length", 512, "unknown key of trl.SFTConfig. Did you mean max_length?"),
        ("args.learning_rate", "2e-4", "must be float. Write it without quotes."),
        ("args.learning_rate", -1, "must be greater than 0."),
        ("args.num_train_epochs", None, "must be float."),
        ("args.per_device_train_batch_size", 0, "must be greater than 0."),
        ("args.per_device_train_batch_size", 4.0, "must be int."),
        ("args.save_total_limit", 1, "must be 2 or more"),
        ("args.completion_only_loss", False, "must be true"),
        ("args.loss_type", "nl", "is not known. Did you mean nll?"),
        ("args.lr_scheduler_type", "cosin", "trl.SFTConfig says: cosin is not a valid SchedulerType"),
        ("args.report_to", "wandb", "is not set here. A tracker changes no weights: give it to the command"),
        ("args.output_dir", "x", "is not set here. The run folder holds it"),
        ("args.seed", 1, "is not set here. Set the recipe's own seed."),
        ("args.eval_strategy", "epoch", "is not set here. Training has no evaluation set"),
        ("args.push_to_hub", True, "is not set here. Nothing is uploaded by training"),
        ("args.deepspeed", "z.json", "is not set here. Several processes are a matter of the command: --launch ddp"),
        ("args.model_init_kwargs", {}, "is not set here. "),
        ("args.dataloader_prefetch_factor", 2, "trl.SFTConfig says: --dataloader_prefetch_factor can only be set when"),
    ],
)
def test_what_the_libraries_refuse_or_we_set_is_a_fault(key: str, value, expected: str, library_faults):
    block, name = key.split(".")
    (found,) = library_faults(**{block: {name: value}}).items()
    assert found[0] == key
    assert found[1].startswith(expected)


GRPO = {"method": "grpo"}
TINY = {"lora": {"peft_type": "TINYLORA"}}


@pytest.mark.parametrize(
    "blocks",
    [
        GRPO | {"args": {"entropy_coef": -0.01, "beta": 0, "temperature": 1.2, "top_p": 0.95, "top_k": 20}},
        GRPO | {"args": {"num_generations": 8}},  # divides our 32 completions, and not TRL's own batch
        GRPO | {"args": {"steps_per_generation": 32, "num_generations": 32, "num_iterations": 2}},
        GRPO | {"args": {"loss_type": "dr_grpo", "scale_rewards": "none", "epsilon_high": 0.28}},
        GRPO | {"args": {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": "http://127.0.0.1:8000"}},
        {"method": "sdft", "args": {"teacher_model_kind": "base", "distillation_alpha": 1.0, "num_generations": 2}},
        {"method": "sdpo", "args": {"loss_type": "grpo", "success_reward_threshold": 0.5}},
        {"lora": {"peft_type": "TINYLORA", "u": 13, "weight_tying": 1.0, "target_modules": "all-linear"}},
        {"lora": {"peft_type": "BEFT", "target_modules": ["q_proj"]}},
        {"lora": {"peft_type": "LORA", "r": 1}},
    ],
)
def test_what_the_classes_of_methods_and_adapters_take_is_accepted(blocks, library_faults):
    assert library_faults(**blocks) == {}


@pytest.mark.parametrize(
    ("blocks", "key", "value", "expected"),
    [
        (GRPO, "args.num_generation", 8, "unknown key of trl.GRPOConfig. Did you mean num_generations?"),
        (GRPO, "args.max_new_tokens", 8, "unknown key of trl.GRPOConfig. Did you mean max_completion_length?"),
        (GRPO, "args.reward_weights", [1.0], "is not set here. Set weight on each of train.rewards."),
        (GRPO, "args.max_prompt_length", 512, "is not set here. No prompt is ever cut."),
        (GRPO, "args.log_completions", True, "is not set here. Every completion stands in the run folder"),
        (GRPO, "args.sync_ref_model", True, "is not set here. The reference is the base"),
        (GRPO, "args.max_completion_length", None, "must be a number."),
        (GRPO, "args.max_completion_length", 0, "must be greater than 0."),
        (GRPO, "args.temperature", 0, "must be greater than 0."),
        (GRPO, "args.top_p", 1.5, "must be greater than 0 and at most 1."),
        (GRPO, "args.beta", -0.1, "must be 0 or more."),
        (GRPO, "args.epsilon", 0.0, "must be greater than 0."),
        (GRPO, "args.loss_type", "drgrpo", "is not known. Did you mean dr_grpo?"),
        (GRPO, "args.scale_rewards", "groups", "is not known. Did you mean group?"),
        (GRPO, "args.temperature", "1.0", "must be float. Write it without quotes."),
        ({"method": "sdft"}, "args.beta", 0.1, "unknown key of trl.experimental.sdft.SDFTConfig."),
        ({"method": "sdft"}, "args.teacher_model_kind", "emma", "is not known. Did you mean ema?"),
        ({"method": "sdpo"}, "args.max_prompt_length", 512, "is not set here. No prompt is ever cut."),
        (TINY, "lora.lora_alpha", 32, "unknown key of peft.TinyLoraConfig."),
        (TINY, "lora.u", 0, "must be greater than 0."),
        (TINY, "lora.weight_tying", 1.5, "peft.TinyLoraConfig says: `weight_tying` should be"),
        (TINY, "lora.init_weights", False, "must be true"),
        (TINY, "lora.init_weights", "normal", "is not known."),
        ({"lora": {"peft_type": "BEFT"}}, "lora.r", 4, "unknown key of peft.BeftConfig."),
        ({}, "lora.peft_type", "TINY_LORA", "is no adapter that is trained here. Did you mean TINYLORA?"),
        ({}, "lora.peft_type", 3, "is no adapter that is trained here."),
    ],
)
def test_faults_are_those_of_the_class_that_method_and_adapter_have(blocks, key, value, expected, library_faults):
    block, name = key.split(".")
    (found,) = library_faults(**blocks | {block: blocks.get(block, {}) | {name: value}}).items()
    assert found[0] == key
    assert found[1].startswith(expected)


def test_what_a_library_says_is_told_at_the_key_that_brings_it_about(library_faults):
    args = {"dataloader_num_workers": 2, "dataloader_prefetch_factor": 2, "optim": "adamw_torchh", "learning_rate": 1}
    found = library_faults(args=args | {"accelerator_config": {"a": 1}}, lora={"init_lora_weights": "loftq", "r": 4})
    assert sorted(found) == ["args.accelerator_config", "args.optim", "lora.init_lora_weights"]
    assert found["args.optim"].endswith("Did you mean adamw_torch?.")


def test_checking_leaves_no_mark_on_the_process(library_faults, recwarn, caplog):
    before = dict(os.environ)
    library_faults(args={"torch_compile": True, "gradient_checkpointing": True}, lora={"eva_config": None})
    assert dict(os.environ) == before
    assert not recwarn.list and not caplog.records


@pytest.mark.parametrize(
    ("args", "dtype", "device", "has_bf16", "expected"),
    [
        ({"bf16": True}, "bfloat16", "cpu", True, []),
        ({"bf16": True}, "bfloat16", "cuda", True, []),
        ({"fp16": True}, "float16", "cuda", False, []),
        ({}, "float16", "cuda", False, []),
        ({"bf16": True}, "float16", "cuda", False, ["train.args.bf16"]),
        ({}, "bfloat16", "cuda", False, ["model.dtype"]),
        ({"fp16": True}, "float16", "cpu", True, ["train.args.fp16"]),
    ],
)
def test_a_precision_that_the_device_lacks_is_a_fault(args, dtype, device, has_bf16, expected):
    assert [fault.key for fault in device_faults(args, dtype, device, has_bf16)] == expected


def test_faults_of_schema_blocks_and_libraries_are_told_together_with_their_lines(write_recipe):
    content = (
        GOOD.replace("{r: 8}", "{r: 8, alpha: 3}").replace("2e-4", "-2e-4").replace("[sums]", "[sums]\n  arms: [bse]")
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(write_recipe(content), ["train.args.seed=3", "data.students.0.temperatures=[0]"], libraries=True)
    assert [line.partition(" =")[0] for line in str(caught.value).split("\n  ")] == [
        "demo.yaml: 5 faults",
        "demo.yaml:12 train.lora.alpha",
        "demo.yaml:14 train.args.learning_rate",
        "demo.yaml:17 eval.arms.0",
        "override data.students.0.temperatures",
        "override train.args.seed",
    ]
