"""What is known of the keys of PEFT's and TRL's classes beside their types: owners, ranges, words. Loads no library."""

from collections.abc import Callable

_HUB = "nothing is uploaded by training; upload the adapter folder yourself, with `hf upload`"
_LAUNCH = "several processes are a matter of the command: --launch ddp, fsdp2 or zero3, with --processes"
_NO_EVALUATION = "training has no evaluation set; the eval block scores the adapter"
_MODEL = "is a matter of the model block, for training and scoring alike"

# Keys that this project sets itself -> what to know or to set instead.
OWNED_ARGS = {
    "output_dir": "the run folder holds it; choose its parent with --runs",
    "seed": "set the recipe's own seed",
    "data_seed": "set the recipe's own seed",
    "resume_from_checkpoint": "give the same command again: it goes on from the last checkpoint",
    "save_only_model": "a checkpoint without optimizer state could not go on",
    "use_cpu": "a GPU is used where there is one; hide it with CUDA_VISIBLE_DEVICES=",
    "model_init_kwargs": f"{_MODEL}; set model.dtype, model.quantization or model.attn_implementation",
    "trust_remote_code": f"{_MODEL}; set model.trust_remote_code",
    "chat_template_path": f"{_MODEL}; set model.chat_template",
    "eos_token": "the tokenizer's own ends every row, in training and scoring alike",
    "pad_token": "a token other than eos is chosen with the tokenizer",
    "dataset_text_field": "examples have the columns prompt and completion",
    "dataset_kwargs": "examples are prepared by the data stage",
    "assistant_only_loss": "the loss is on the completion of each example",
    "truncation_mode": "no row is ever cut",
    "report_to": "a tracker changes no weights: give it to the command, --tracker tensorboard",
    "enable_jit_checkpoint": "SIGTERM saves a checkpoint as it is",
    "auto_find_batch_size": "the micro-batch is halved when memory is too small, and the effective batch kept",
    "include_num_input_tokens_seen": "tokens are counted for metrics.json",
    **dict.fromkeys(["logging_strategy", "logging_steps"], "every step is logged in metrics.json"),
    **dict.fromkeys(["do_train", "do_eval", "do_predict"], "it has no effect outside of transformers' own scripts"),
    **dict.fromkeys(["push_to_hub", "hub_model_id", "hub_strategy", "hub_token", "hub_private_repo"], _HUB),
    **dict.fromkeys(["hub_always_push", "hub_revision"], _HUB),
    **dict.fromkeys(["deepspeed", "fsdp", "fsdp_config", "parallelism_config", "local_rank"], _LAUNCH),
    **dict.fromkeys(["ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers"], _LAUNCH),
    **dict.fromkeys(["ddp_static_graph", "ddp_backend", "ddp_timeout"], _LAUNCH),
    **dict.fromkeys(["load_best_model_at_end", "metric_for_best_model", "greater_is_better"], _NO_EVALUATION),
    **dict.fromkeys(["eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "eval_packing"], _NO_EVALUATION),
    **dict.fromkeys(["per_device_eval_batch_size", "eval_accumulation_steps", "batch_eval_metrics"], _NO_EVALUATION),
    **dict.fromkeys(["eval_do_concat_batches", "eval_use_gather_object"], _NO_EVALUATION),
}
# The same, of the methods that train on the model's own completions.
_COMPLETIONS = "every completion stands in the run folder, in train/rollouts"
_REFERENCE = "the reference is the base, with the adapter switched off, and stays what it is"
OWNED_ROLLOUT_ARGS = OWNED_ARGS | {
    "reward_weights": "set weight on each of train.rewards",
    "remove_unused_columns": "the rewards are given all columns of the rows",
    **dict.fromkeys(["max_prompt_length", "max_reprompt_len"], "no prompt is ever cut"),
    "chat_template_kwargs": f"{_MODEL}; write them into a template, and set model.chat_template",
    "num_generations_eval": _NO_EVALUATION,
    "use_transformers_paged": "its name is use_transformers_continuous_batching",
    "vllm_importance_sampling_cap": "its name is vllm_importance_sampling_clip_max",
    **dict.fromkeys(["log_completions", "num_completions_to_print", "log_unique_prompts"], _COMPLETIONS),
    **dict.fromkeys(["log_multimodal", "log_completions_hub_repo"], _COMPLETIONS),
    **dict.fromkeys(["sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps"], _REFERENCE),
}
OWNED_LORA = {
    "base_model_name_or_path": "the model block names the base",
    "revision": "set model.revision",
    **dict.fromkeys(["inference_mode", "auto_mapping", "peft_version"], "PEFT writes it itself"),
}

MOST = 10**7  # of any number of theirs: rows of a batch, steps, tokens, a rank
SYNONYMS = {"lr": "learning_rate", "rank": "r", "alpha": "lora_alpha", "warmup_ratio": "warmup_steps below 1"}
SYNONYMS |= {"group_size": "num_generations", "max_new_tokens": "max_completion_length", "kl_coef": "beta"}

# What the libraries check only after the model is loaded, or never: what the value must be, and whether it is.
_POSITIVE = "must be greater than 0", lambda n: n > 0
_NOT_NEGATIVE = "must be 0 or more", lambda n: n >= 0
_SHARE = "must be 0 or more and less than 1", lambda n: 0 <= n < 1
_PART = "must be greater than 0 and at most 1", lambda n: 0 < n <= 1
_WEIGHT = "must be from 0 to 1", lambda n: 0 <= n <= 1
RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    **dict.fromkeys(["r", "lora_alpha", "learning_rate", "num_train_epochs", "max_length"], _POSITIVE),
    **dict.fromkeys(["per_device_train_batch_size", "gradient_accumulation_steps", "save_steps"], _POSITIVE),
    **dict.fromkeys(["weight_decay", "warmup_steps", "max_grad_norm", "dataloader_num_workers"], _NOT_NEGATIVE),
    **dict.fromkeys(["lora_dropout", "tinylora_dropout", "label_smoothing_factor", "adam_beta1", "adam_beta2"], _SHARE),
    **dict.fromkeys(["max_completion_length", "steps_per_generation", "generation_batch_size"], _POSITIVE),
    **dict.fromkeys(["num_generations", "num_iterations", "temperature", "epsilon", "epsilon_high"], _POSITIVE),
    **dict.fromkeys(["delta", "u", "repetition_penalty", "distillation_topk"], _POSITIVE),
    "off_policy_mask_threshold": _POSITIVE,
    **dict.fromkeys(["beta", "top_k", "num_loss_tokens_to_skip", "init_v_bound"], _NOT_NEGATIVE),
    **dict.fromkeys(["top_p", "top_entropy_quantile", "vllm_gpu_memory_utilization"], _PART),
    **dict.fromkeys(["min_p", "teacher_update_rate", "distillation_alpha"], _WEIGHT),
    "init_weights": ("must be true, or the adapter begins as whatever stood in that memory", bool),
    "completion_only_loss": ("must be true, the loss is on the completion of each example", bool),
    "save_total_limit": ("must be 2 or more, or a kill could leave no whole checkpoint", lambda n: n >= 2),
}
NUMBERS = ("max_completion_length", "num_generations")  # null is of their declared types, and TRL fails over it

# The words that are taken where a class declares any text.
_AGGREGATION = {"scale_rewards": ("group", "batch", "none"), "importance_sampling_level": ("token", "sequence")}
_VLLM = {"vllm_mode": ("server", "colocate"), "vllm_model_impl": ("vllm", "transformers")}
_CAPS = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")
_TEACHER = {"teacher_model_kind": ("base", "live", "ema")}
CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "GRPOConfig": {
        "loss_type": ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"),
        "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
        "vllm_importance_sampling_mode": _CAPS,
        **_AGGREGATION,
        **_VLLM,
    },
    "SDFTConfig": _TEACHER | _VLLM,
    "SDPOConfig": {"loss_type": ("grpo", "dr_grpo", "dapo", "bnpo")} | _TEACHER | _AGGREGATION | _VLLM,
    "TinyLoraConfig": {"init_weights": ("uniform",), "bias": ("none", "all", "tinylora_only")},
}
