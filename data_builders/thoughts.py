"""Where a reasoning model's thoughts end and its solution begins, by the marks of many families of models."""

import re

_NAMES = r"(?:seed:)?(?:think|thinking|thoughts?|reason|reasoning|reflection|analysis|scratchpad)"
_MARKS = (  # opening and closing, with a family that writes them
    (rf"<{_NAMES}>", rf"</{_NAMES}>"),  # DeepSeek-R1, Qwen3, Granite 3.3; seed:think of Seed-OSS
    (r"\[THINK\]", r"\[/THINK\]"),  # Magistral
    (r"◁think▷", r"◁/think▷"),  # Kimi
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),  # Sky-T1, OpenThinker
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),  # Command A
    (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),  # Apertus
    (r"<\|channel>\s*thought", r"<channel\|>"),  # Gemma 4
    (r"<unused94>\s*thought", r"<unused95>"),  # MedGemma
    (r"\A\s*Here is my thought process:", r"Here is my response:"),  # Granite 3.2
)
_MARK = re.compile(
    f"(?P<open>{'|'.join(opening for opening, _ in _MARKS)})|{'|'.join(closing for _, closing in _MARKS)}", re.I
)
_SOLUTION = "(?:answer|response|solution|output|conclusion)"
_AROUND = re.compile(  # marks that stand around a solution
    rf"\A\s*<{_SOLUTION}>|</{_SOLUTION}>\s*\Z|<\|(?:begin|end)_of_solution\|>|<\|(?:START|END)_RESPONSE\|>", re.I
)
# gpt-oss (https://cookbook.openai.com/articles/openai-harmony): messages in channels, of which "final" is the solution
_CHANNEL = re.compile(
    r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>(.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)", re.S
)
_BARE_CHANNELS = re.compile(r"\A\s*analysis(?=[A-Z])(?:.*assistantfinal(?P<final>.*))?", re.S)  # its marks left out


def final_text(text: str) -> str:
    """What a reasoning model wrote beside its thoughts; "" if it never stopped thinking."""
    if "<|channel|>" in text:
        return "\n".join(part.strip() for channel, part in _CHANNEL.findall(text) if channel == "final")
    if bare := _BARE_CHANNELS.match(text):
        return (bare["final"] or "").strip()
    kept: list[str] = []
    begin, thinking = 0, False
    for mark in _MARK.finditer(text):
        if mark["open"]:
            if not thinking:
                kept.append(text[begin : mark.start()])
            thinking = True
        else:
            if not thinking:  # the opening mark was in the prompt: all before it are thoughts
                kept.clear()
            begin, thinking = mark.end(), False
    if thinking:
        return ""
    if begin or _AROUND.search(text):
        return _AROUND.sub("", ("".join(kept) + text[begin:]).strip()).strip()
    return text
