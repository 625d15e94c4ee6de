"""GRPO on one example, flat: what `cft run rlvr/one_example` does, with plain TRL, PEFT and lm-eval.

    python recipes/flat/one_example_grpo.py $(cft models path qwen2.5-coder-0.5b) OUT

One problem, sampled 32 times a step; a right answer earns 1 -> a LoRA adapter in OUT/adapter -> base and adapter on the
same 240 word problems. Given the same completions, losses and adapter are those of the framework to rounding
(tests/recipes/test_flat_twin_grpo.py). What is left out here: resume, faster rollouts and decoding, checks, the report.
"""

import argparse
import json
from pathlib import Path

import lm_eval
import torch
import yaml
from datasets import Dataset
from lm_eval.tasks import TaskManager
from peft import LoraConfig
from scipy.stats import binomtest
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from eval.grading import grade

ROOT = Path(__file__).resolve().parents[2]
PROBLEM = ROOT / "recipes/problems/cards.yaml"
PROMPT = "<problem>\nPlease reason step by step, and put your final answer within \\boxed{}."
TASK = "cft_wordproblems"
# A generation is GROUPS x GROUP completions, trained on MICRO_BATCH at a time
GROUPS, GROUP, MICRO_BATCH = 2, 16, 8

# The command line
parser = argparse.ArgumentParser(description="GRPO on one example with plain TRL, PEFT and lm-eval.")
parser.add_argument("model", nargs="?", help="folder or hub id of a chat model")
parser.add_argument("out", nargs="?", type=Path, help="new folder for the adapter, the log and the answers")
parser.add_argument("--steps", type=int, default=12, help="optimizer steps")
parser.add_argument(
    "--updates", type=int, choices=[1, 2, 4], default=1, help="optimizer steps a generation; with 1 nothing is clipped"
)
parser.add_argument("--seed", type=int, default=0, help="of the adapter's first weights and the completions")
parser.add_argument("--limit", type=int, default=120, help="items to score, of 300; 0 trains only")
parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="CPUs before AVX-512: float32")
args = parser.parse_args()
if args.model is None:
    parser.error("no model. Give a hub id, or the folder that `cft models path qwen2.5-coder-0.5b` prints")
if args.out is None:
    parser.error(f"no output folder. Name a new one after the model: {args.model} OUT")
if args.steps < 1:
    parser.error(f"--steps {args.steps}: at least 1")
adapter = args.out / "adapter"
if adapter.exists():
    parser.error(f"{adapter} exists. Remove it, or name another output folder")
try:
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=args.dtype)
except (OSError, ValueError) as error:
    parser.error(f"{args.model} cannot be loaded: {error}\nGive the folder that `cft models path NAME` prints")

# The rows: one prompt, once for each group of a generation. TRL's sampler drops what does not fill one: a single row
# would train nothing
problem = yaml.safe_load(PROBLEM.read_text(encoding="utf-8"))
question = PROMPT.replace("<problem>", problem["question"].strip())
rows = [{"prompt": [{"role": "user", "content": question}], "answer": str(problem["answer"])}] * GROUPS


def correct(completions: list[list[dict]], answer: list[str], **_) -> list[float]:
    """1 where the last box of a completion has the right answer. The prompt is not looked at: it says \\boxed{} too."""
    return [
        float(grade(gold, message["content"]).outcome == "correct")
        for gold, (message,) in zip(answer, completions, strict=True)
    ]


# Training: each completion's advantage is its reward less the mean of its group, over the group's spread
on_cpu = not torch.cuda.is_available()
trainer = GRPOTrainer(
    model=model,
    processing_class=tokenizer,
    train_dataset=Dataset.from_list(rows),
    reward_funcs=correct,
    peft_config=LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"),
    args=GRPOConfig(
        output_dir=str(args.out),
        seed=args.seed,
        learning_rate=1e-4,  # TRL's 1e-6 is for all weights; LoRA wants far more
        lr_scheduler_type="constant",
        max_steps=args.steps,
        per_device_train_batch_size=MICRO_BATCH,
        generation_batch_size=GROUPS * GROUP,
        num_generations=GROUP,
        gradient_accumulation_steps=GROUPS * GROUP // MICRO_BATCH // args.updates,
        max_completion_length=256,
        temperature=0.7,  # the loss divides by it too, but knows nothing of top_p and top_k: 1 and 0, TRL's own
        disable_dropout=True,  # TRL samples in training mode, with dropout
        beta=0.0,  # no reference model
        loss_type="dapo",  # a mean over the tokens of a step
        bf16=args.dtype == "bfloat16",  # autocast: the adapter itself stays in float32. TRL's default is bf16, always
        use_cpu=on_cpu,
        gradient_checkpointing=not on_cpu,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
    ),
)
trainer.train()
trainer.save_state()  # OUT/trainer_state.json: reward, entropy, lengths and loss of each step
trainer.model.save_pretrained(adapter)
if not args.limit:
    raise SystemExit

# The score: greedy answers of base and adapter to the same items, the last \boxed{} against the true answer
tasks = TaskManager(include_path=str(ROOT / "eval/tasks"), include_defaults=False)
right = {}
for arm, peft in (("base", None), ("adapter", str(adapter))):
    results = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": args.model, "peft": peft, "dtype": args.dtype},
        tasks=[TASK],
        task_manager=tasks,
        limit=args.limit,
        apply_chat_template=True,
        gen_kwargs={"max_gen_toks": 448},
        batch_size=50,
        device="cpu" if on_cpu else "cuda",
    )
    samples = sorted(results["samples"][TASK], key=lambda sample: sample["doc_id"])
    right[arm] = [sample["exact_match"] == 1 for sample in samples]
    (args.out / f"{arm}.json").write_text(json.dumps(samples, indent=1, default=str), encoding="utf-8")

# The same items, so the difference is paired: McNemar's exact test looks at those that changed
gained = sum(after and not before for before, after in zip(*right.values(), strict=True))
lost = sum(before and not after for before, after in zip(*right.values(), strict=True))
p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
for arm, outcomes in right.items():
    print(f"{arm:8} {sum(outcomes):4} of {len(outcomes)} right, {sum(outcomes) / len(outcomes):.1%}")
print(f"gained {gained}, lost {lost}, McNemar p = {p:.3f}")
