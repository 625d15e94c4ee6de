"""One-problem critique fine-tuning, flat: what `cft run quickstart` does, with plain TRL, PEFT and lm-eval.

    python recipes/flat/one_problem_cft.py $(cft models path qwen2.5-coder-0.5b) OUT

48 critiques of wrong solutions to one bakery problem -> a LoRA adapter in OUT/adapter -> base and adapter on the same
240 word problems. On a CPU the rows, the losses and the adapter are those of the framework to rounding
(tests/recipes/test_flat_twin.py). What is left out here: resume, faster training and decoding, checks, the report.
"""

import argparse
import json
from pathlib import Path

import lm_eval
import torch
from datasets import Dataset
from lm_eval.tasks import TaskManager
from peft import LoraConfig
from scipy.stats import binomtest
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

ROOT = Path(__file__).resolve().parents[2]
CRITIQUES = ROOT / "recipes/critiques/bakery.jsonl"
STYLES = (
    "numbered check",
    "examiner, concept first",
    "first error, then another grouping",
    "thinking aloud, checked twice",
)
PROMPT = """A student was given the problem below and wrote the solution that follows it. Judge the solution.
Go through it step by step and check every step against the problem. Say whether the solution is correct or \
incorrect; where it goes wrong, name the first mistake, explain it, and correct it. Then give the right final answer \
within \\boxed{}.

Problem:
<problem>

Student's solution:
<solution>"""
TASK = "cft_wordproblems"

# The command line
parser = argparse.ArgumentParser(description="One-problem critique fine-tuning with plain TRL, PEFT and lm-eval.")
parser.add_argument("model", nargs="?", help="folder or hub id of a chat model")
parser.add_argument("out", nargs="?", type=Path, help="new folder for the adapter, the losses and the answers")
parser.add_argument("--seed", type=int, default=0, help="of the adapter's first weights and the order of the rows")
parser.add_argument("--limit", type=int, default=240, help="items to score, of 300; 0 trains only")
parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="CPUs before AVX-512: float32")
args = parser.parse_args()
if args.model is None:
    parser.error("no model. Give a hub id, or the folder that `cft models path qwen2.5-coder-0.5b` prints")
if args.out is None:
    parser.error(f"no output folder. Name a new one after the model: {args.model} OUT")
adapter = args.out / "adapter"
if adapter.exists():
    parser.error(f"{adapter} exists. Remove it, or name another output folder")
try:
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=args.dtype)
except (OSError, ValueError) as error:
    parser.error(f"{args.model} cannot be loaded: {error}\nGive the folder that `cft models path NAME` prints")

# The rows: a student's wrong solution in the prompt, a critique of it as the completion
rows = []
for line in CRITIQUES.read_text(encoding="utf-8").splitlines():
    critique = json.loads(line)
    if critique["style"] in STYLES:
        user = PROMPT.replace("<problem>", critique["problem"]).replace("<solution>", critique["solution"].strip())
        prompt = [{"role": "user", "content": user}]
        completion = [{"role": "assistant", "content": critique["critique"].strip()}]
        rows.append({"prompt": prompt, "completion": completion})

# Training: the loss falls on the critiques only, one epoch in steps of 4 rows
on_cpu = not torch.cuda.is_available()
trainer = SFTTrainer(
    model=model,
    processing_class=tokenizer,
    train_dataset=Dataset.from_list(rows),
    peft_config=LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"),
    args=SFTConfig(
        output_dir=str(args.out),
        seed=args.seed,
        learning_rate=1e-4,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,  # a share of all steps
        num_train_epochs=1,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=4,
        max_length=None,  # TRL would cut longer rows
        pad_to_multiple_of=64 if on_cpu else None,  # oneDNN keeps code for every length it meets
        bf16=args.dtype == "bfloat16",  # autocast: the adapter itself stays in float32
        use_cpu=on_cpu,
        gradient_checkpointing=not on_cpu,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
    ),
)
trainer.train()
trainer.save_state()  # OUT/trainer_state.json: the loss of each step
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
