"""The elicitors: ways to decode that need no training, by the name that an arm gives them.

An elicitor has the signature of `cft.models.generate.generate`, and may have options of its own as further keywords:

    elicit(model, tokenizer, prompts, *, max_new_tokens, temperature, top_k, top_p, seed, stop_strings,
           special_tokens, decoder, on_step, **options) -> list[Completion]

It gets one batch of prompts and returns one completion a prompt. Batches, log and resume are the evaluation's.
"""

ELICITORS: dict[str, str] = {}  # name -> "module:function"
