"""Every decoder writes the same: rows that are refilled over a static cache, too, as they are on a GPU."""

import gc
import weakref
from collections import Counter

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import cft.models.graphs
from cft.devices import decoder_for
from cft.errors import ModelError
from cft.models.decoding import Answers
from cft.models.generate import generate
from cft.models.graphs_fault import graphs_fault, tried
from tests.support.tiny import late_stop, loud_model

PROMPTS = [f"{'word ' * n}{n} + {n} =" for n in (3, 1, 8, 2, 40, 5, 4, 1, 6)]
NEW = 40


@pytest.fixture(scope="module")
def tiny(tiny_model):
    """The loud model, which ends some of its answers early and others never."""
    model, tokenizer = loud_model(tiny_model)
    model.generation_config.eos_token_id = late_stop(tokenizer, by_transformers(model, tokenizer).tolist())
    return model, tokenizer


def by_transformers(model, tokenizer):
    """The new tokens of transformers' own generate."""
    encoded = tokenizer(PROMPTS, return_tensors="pt", padding=True, padding_side="left")
    return model.generate(**encoded, max_new_tokens=NEW, do_sample=False)[:, encoded["input_ids"].shape[1] :]


@pytest.fixture
def step_rows(monkeypatch):
    """The rows of each decoding step from now on."""
    seen, step = [], cft.models.graphs.step
    monkeypatch.setattr(
        cft.models.graphs, "step", lambda model, inputs, *rest: seen.append(len(inputs)) or step(model, inputs, *rest)
    )
    return seen


def both(model, tokenizer, prompts=PROMPTS, slots=None, **how):
    """What steps and graphs write."""
    how = {"max_new_tokens": NEW} | how
    by_steps = generate(model, tokenizer, prompts, decoder="steps", **how)
    return by_steps, generate(model, tokenizer, prompts, decoder="graphs", slots=slots, **how)


@pytest.mark.parametrize("slots", [None, 1, 2, 5])
def test_refilled_rows_hold_the_answers_of_transformers_generate(tiny, slots):
    model, tokenizer = tiny
    by_steps, by_graphs = both(model, tokenizer, slots=slots)
    assert by_graphs == by_steps and Counter(c.finish_reason for c in by_steps).keys() == {"stop", "length"}
    assert by_steps == generate(model, tokenizer, PROMPTS, max_new_tokens=NEW, decoder="steps", slots=slots)
    for completion, row in zip(by_graphs, by_transformers(model, tokenizer), strict=True):
        assert completion.text == tokenizer.decode(row[: completion.tokens], skip_special_tokens=True)


@pytest.mark.parametrize("new", [1, 2, cft.models.graphs.LOOK, cft.models.graphs.LOOK + 1, cft.models.graphs.LOOK + 2])
@pytest.mark.parametrize("prompts", [PROMPTS[:1], [PROMPTS[4], *PROMPTS[:2]]])
def test_all_rows_ending_at_once_and_at_the_limit_are_not_written_on(tiny, prompts, new):
    by_steps, by_graphs = both(*tiny, prompts=prompts, max_new_tokens=new)
    assert by_graphs == by_steps and max(c.tokens for c in by_graphs) <= new


def test_no_token_is_read_where_no_answer_could_have_one(tiny, monkeypatch):
    """A table of positions ends with the model's context: a GPU's process ends with a look beyond it."""
    places, forward, drawn, stop = [], cft.models.graphs.Slots.forward, [], 9
    monkeypatch.setattr(
        cft.models.graphs.Slots, "forward", lambda self: places.append(self.positions.max().item()) or forward(self)
    )

    def choose(logits):  # the second row ends early: the third prompt has many steps to go when the first has two
        drawn.append(torch.full((len(logits),), 5))
        if len(drawn) == 4:
            drawn[-1][1] = stop
        return drawn[-1]

    answers = Answers([[1] * 12, [2] * 3, [3]], cft.models.graphs.LOOK + 3, choose, {stop})
    cft.models.graphs.graphs(tiny[0], answers, 2)
    assert [len(tokens) for tokens in answers.tokens] == [11, 3, 11]
    assert 12 + 9 <= max(places) < 12 + 11


def test_the_part_of_the_cache_that_a_step_reads_grows_with_the_answers(tiny, monkeypatch):
    monkeypatch.setattr(cft.models.graphs, "BUCKET", 16)
    by_steps, by_graphs = both(*tiny, slots=3)
    assert by_graphs == by_steps


def test_an_adapter_answers_as_itself(tiny_model):
    model, tokenizer = loud_model(tiny_model)
    base = both(model, tokenizer)
    torch.manual_seed(1)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)).eval()
    with_adapter = both(adapted, tokenizer, slots=3)
    assert base[0] == base[1] != with_adapter[0] == with_adapter[1]
    with adapted.disable_adapter():
        assert both(adapted, tokenizer, slots=3)[1] == base[0]
    tried.clear()
    assert [graphs_fault(model) for model in (adapted, adapted.get_base_model())] == ["", ""] and len(tried) == 1
    with adapted.disable_adapter():
        assert graphs_fault(adapted) == "" and len(tried) == 2  # what its layers do else was not tried


def test_a_beginning_that_all_share_and_special_tokens_are_read_as_by_steps(tiny):
    shots = "Problem: what is 1 + 1?\nSolution: 2\n\n" * 8
    by_steps, by_graphs = both(*tiny, prompts=[shots + prompt for prompt in PROMPTS], slots=4, special_tokens=True)
    assert by_graphs == by_steps


def test_an_answer_ends_before_a_stop_string_wherever_a_look_falls(tiny):
    model, tokenizer = tiny
    free = generate(model, tokenizer, PROMPTS, max_new_tokens=NEW)
    for start in (5, 9, 12):
        stop = next(c.text[start : start + 3] for c in free if len(c.text) > start + 3)
        by_steps, by_graphs = both(model, tokenizer, slots=4, stop_strings=[stop])
        assert by_graphs == by_steps != free and stop not in "".join(c.text for c in by_graphs)


def test_samples_repeat_with_their_seed_and_keep_to_top_k(tiny):
    model, tokenizer = tiny
    how = {"max_new_tokens": 20, "temperature": 1.0, "decoder": "graphs", "slots": 3}
    first = generate(model, tokenizer, PROMPTS, seed=1, **how)
    torch.rand(7)
    assert first == generate(model, tokenizer, PROMPTS, seed=1, **how)
    assert first != generate(model, tokenizer, PROMPTS, seed=2, **how)
    greedy = generate(model, tokenizer, PROMPTS, max_new_tokens=20, decoder="steps")
    assert greedy == generate(model, tokenizer, PROMPTS, seed=1, top_k=1, **how)


def test_rows_stay_in_work_until_the_last_prompts_and_fewer_are_computed_after_them(tiny, step_rows):
    model, tokenizer = tiny
    graphs_fault(model)  # its trial has steps of its own
    step_rows.clear()
    done = generate(model, tokenizer, [*PROMPTS * 3, *PROMPTS[:6]], max_new_tokens=NEW, decoder="graphs", slots=4)
    tokens, computed = sum(c.tokens for c in done), sum(step_rows)
    assert max(step_rows) == 4 and min(step_rows) < 4
    assert computed < 1.35 * tokens  # rows that wait for a look, or that have no prompt left
    assert step_rows == sorted(step_rows, reverse=True)


def test_the_cache_goes_with_the_last_answer(tiny, monkeypatch):
    caches, make = [], cft.models.graphs.Slots.make

    def watched(self, read):
        make(self, read)
        caches.extend(weakref.ref(layer.keys) for layer in self.cache.layers)

    monkeypatch.setattr(cft.models.graphs.Slots, "make", watched)
    gc.disable()
    try:
        generate(*tiny, PROMPTS, max_new_tokens=NEW, decoder="graphs", slots=2)
        assert caches and not any(cache() is not None for cache in caches)
    finally:
        gc.enable()


@pytest.mark.parametrize("decoder", ["steps", "graphs"])
def test_tokens_and_ended_answers_are_told_as_they_come(tiny, decoder):
    model, tokenizer = tiny
    told, ended = [], []
    how = {"max_new_tokens": NEW, "slots": 3, "decoder": decoder}
    done = generate(model, tokenizer, PROMPTS, on_step=told.append, on_answer=lambda: ended.append(len(told)), **how)
    assert sum(told) == sum(c.tokens for c in done) and 0 < min(told) <= max(told) <= 3
    assert len(ended) == len(PROMPTS) and len(set(ended)) > 2


def test_graphs_has_attention_that_takes_its_mask_and_gives_it_back(tiny_model, monkeypatch):
    model, tokenizer = loud_model(tiny_model)
    by_steps = generate(model, tokenizer, PROMPTS, max_new_tokens=NEW)
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "without_masks", lambda *states, **how: 1 / 0)
    for attention in ("eager", "without_masks"):
        model.set_attn_implementation(attention)
        assert generate(model, tokenizer, PROMPTS, max_new_tokens=NEW, decoder="graphs") == by_steps
        assert model.config._attn_implementation == attention


HOST = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "multinomial", "equal", "lift_fresh"}


class HostOperations(TorchDispatchMode):
    """Notes operations that wait for a GPU or bring data to it: a capture refuses the ones, freezes the others."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen |= {func.overloadpacket.__name__} & HOST
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("rope", ["default", "dynamic"])
def test_a_step_can_be_captured_unless_its_model_looks_at_the_positions(rope, monkeypatch):
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    position = {"rope_type": rope, "rope_theta": 1e4, "factor": 2.0}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=99, num_key_value_heads=2, rope_parameters=position, **sizes))
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear")).eval()
    noted, forward = HostOperations(), cft.models.graphs.Slots.forward

    def watched(self):
        with noted:
            forward(self)

    monkeypatch.setattr(cft.models.graphs.Slots, "forward", watched)
    answers = Answers([[1, 2, 3], [4, 5], [6]], 20, lambda logits: logits.argmax(-1))
    cft.models.graphs.graphs(adapted, answers, 2)
    assert [len(tokens) for tokens in answers.tokens] == [20, 20, 20]
    assert bool(noted.seen) == (rope == "dynamic")


# models and machines for which it is not


def test_a_model_that_decodes_wrongly_from_a_static_cache_is_decoded_by_steps(tiny_model, step_rows, monkeypatch):
    model, tokenizer = loud_model(tiny_model)
    assert graphs_fault(model) == ""
    tried.clear()
    forward = type(model).forward

    def deaf(self, attention_mask=None, **how):  # to masks, as models are that make their own
        flat = attention_mask is not None and attention_mask.ndim == 4
        return forward(self, attention_mask=torch.zeros_like(attention_mask) if flat else attention_mask, **how)

    monkeypatch.setattr(type(model), "forward", deaf)
    fault = graphs_fault(model)
    assert fault.startswith("its logits differ by ") and fault.endswith("% from those that it has without a cache")
    step_rows.clear()
    by_steps, by_graphs = both(model, tokenizer)
    assert by_graphs == by_steps and not step_rows
    tried.clear()

    def refusing(self, attention_mask=None, **how):
        if attention_mask is not None and attention_mask.ndim == 4:
            raise RuntimeError("operation not permitted when stream is capturing\nCUDA error")
        return forward(self, attention_mask=attention_mask, **how)

    monkeypatch.setattr(type(model), "forward", refusing)
    assert graphs_fault(model) == "RuntimeError: operation not permitted when stream is capturing"
    tried.clear()


def test_sliding_windows_are_decoded_by_steps(tiny_model, step_rows):
    _, tokenizer = loud_model(tiny_model)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    window = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=2, **sizes, **window)).eval()
    assert graphs_fault(model) == "its cache has sliding windows or states of its own"
    by_steps, by_graphs = both(model, tokenizer)
    assert by_graphs == by_steps and not step_rows


def test_half_precision_passes_its_own_trial(tiny_model):
    assert graphs_fault(AutoModelForCausalLM.from_pretrained(tiny_model).eval()) == ""


def test_continuous_batching_of_transformers_writes_the_same_and_leaves_the_model_as_it_was(tiny_model):
    model, tokenizer = loud_model(tiny_model)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)).eval()
    expected = generate(adapted, tokenizer, PROMPTS, max_new_tokens=NEW)
    random = torch.random.get_rng_state()
    assert generate(adapted, tokenizer, PROMPTS, max_new_tokens=NEW, decoder="continuous", slots=3) == expected
    assert torch.equal(random, torch.random.get_rng_state())
    assert (model.config._attn_implementation, model.dtype) == ("sdpa", torch.float32)
    with pytest.raises(ModelError, match=r"continuous is greedy only, but temperature is 0\.7"):
        generate(model, tokenizer, PROMPTS, max_new_tokens=NEW, decoder="continuous", temperature=0.7)


def test_each_device_has_its_decoder():
    assert [decoder_for("auto", device) for device in ("cuda", "mps", "cpu", "xpu")] == ["graphs", *["steps"] * 3]
    assert decoder_for("steps", "cuda") == "steps" and decoder_for("graphs", "cpu") == "graphs"
