"""One side of benchmarks/training.py: LoRA with unsloth, run by the Python of an environment that has it.

    PYTHON benchmarks/unsloth_train.py '{"model": FOLDER, "rows": FILE, "steps": 1, "lora": {...}, "max_length": 1024}'

Follows unsloth's own notebooks (FastLanguageModel, micro-batches of 2, 4 of them a step, its gradient checkpointing).
Prints one JSON object: seconds of the steps, and the tokens that its own tokenizer made of the rows.
"""

import json
import os
import sys

os.environ["UNSLOTH_SKIP_TORCHVISION_CHECK"] = "1"  # text needs none
import unsloth  # noqa: F401, I001 - it changes transformers and must come first
import torch
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer
from unsloth import FastLanguageModel

settings = json.loads(sys.argv[1])
model, tokenizer = FastLanguageModel.from_pretrained(
    settings["model"], max_seq_length=settings["max_length"], dtype=torch.bfloat16, load_in_4bit=False
)
model = FastLanguageModel.get_peft_model(
    model,
    r=settings["lora"]["r"],
    lora_alpha=settings["lora"]["lora_alpha"],
    lora_dropout=0,
    target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    use_gradient_checkpointing="unsloth",
    random_state=0,
)
rows = load_dataset("json", data_files=settings["rows"], split="train")
trainer = SFTTrainer(
    model=model,
    processing_class=tokenizer,
    train_dataset=rows,
    args=SFTConfig(
        output_dir=settings["out"],
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        max_steps=settings["steps"],
        max_length=settings["max_length"],
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        use_cpu=not torch.cuda.is_available(),
    ),
)
done = trainer.train()
tokens = [row["num_tokens"] for row in trainer.state.log_history if "num_tokens" in row]
print(json.dumps({"train_runtime": done.metrics["train_runtime"], "num_tokens": tokens[-1] if tokens else None}))
