"""A good recipe, for tests that make it bad."""

GOOD = """\
name: demo
model: {id: some-model}
data:
  builder: critiques
  problems: [bakery]
  students: [{samples: 4}]
  teachers:
    - kind: exact
    - {kind: file, path: critiques.jsonl}
train:
  method: cft
  lora: {r: 8}
  args:
    learning_rate: 2e-4
eval:
  tasks: [sums]
"""
