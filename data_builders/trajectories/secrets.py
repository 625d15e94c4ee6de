"""Keys, tokens, passwords and mail addresses of a row, replaced before anything of it is shown or written.

A value has one placeholder wherever it stands in a row, so that a call and its result still agree. What has no form of
its own (names, addresses of houses, telephone numbers, folders) is not found.
"""

import re
from collections.abc import Callable
from typing import Any

_WORD = r"(?:api|access|secret|private|auth)[_-]?key|passw(?:or)?d|passphrase|(?:[a-z]{2,9}[_-]?)?(?:token|secret)"
# Kind, texts of which one must be there (in lower case; a cheap test), and the pattern. A group is what is replaced.
# Repeats are bounded, or begin at a mark of their own, so that no long text takes quadratic time.
_PATTERNS = [
    (kind, marks, re.compile(pattern, re.DOTALL))
    for kind, marks, pattern in [
        (
            "private key",
            ("private key-----",),
            r"-----BEGIN[^-]{0,40}PRIVATE KEY-----(?:.{0,8000}?-----END[^-]{0,40}PRIVATE KEY-----|[\w+/=\s\\]*)",
        ),
        (
            "key",
            ("sk-", "gh", "glpat-", "hf_", "npm_", "xox", "akia", "asia", "aiza", "k_live_", "k_test_", "ya29.", "eyj"),
            r"\b(?:sk-(?=[\w-]{0,200}\d)[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{20,}"
            r"|npm_\w{30,}|xox[a-z]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}\b|AIza[\w-]{30,}|[rs]k_(?:live|test)_\w{16,}"
            r"|ya29\.[\w-]{20,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*)",
        ),
        ("key", ("bearer ", "basic "), r"\b(?i:bearer|basic)\s{1,4}((?=[\w.~+/-]{0,200}\d)[\w.~+/-]{12,}=*)"),
        ("password", ("://",), r"(?<=://)([^\s/:@\"']{0,64}:[^\s/@\"']{1,128})(?=@)"),
        (
            "password",
            ("key", "passw", "passphrase", "token", "secret"),
            rf"(?i:{_WORD})\\*[\"']?\s{{0,4}}[:=]\s{{0,4}}(?:\\*[\"']([^\s\"'\\<>${{}}]{{6,200}})\\*[\"']"
            r"|((?=[\w+/.~!#%^*-]{0,99}\d)(?=[\w+/.~!#%^*-]{0,99}[A-Za-z])[\w+/.~!#%^*-]{8,200}))",
        ),
        (
            "password",
            ("password=", "secret=", "token=", "key="),
            r"(?<![\w-])[A-Z0-9_]{0,40}(?:PASSWORD|SECRET|TOKEN|API_KEY|ACCESS_KEY)=([^\s\"'$<]{6,200})",
        ),
        (
            "mail address",
            ("@",),
            r"(?<![\w.+-])(?!git@)[\w+-][\w.+-]{0,63}@(?!(?:[\w-]+\.){0,4}(?:example|test|invalid|localhost)\b)"
            r"[\w-]{1,63}(?:\.[\w-]{1,63}){0,4}\.[A-Za-z]{2,24}\b",
        ),
    ]
]
_KEY = re.compile(rf"(?i)^(?:\w{{0,40}}[_-])?(?:{_WORD})$")


def mask(row: Any) -> tuple[Any, list[str]]:
    """A copy of the row with a placeholder for every secret, as `<PASSWORD_1>`, and the kind of each different one.

    Mail addresses of reserved domains (example.com) stay.
    """
    placeholders: dict[str, str] = {}
    kinds: list[str] = []

    def placeholder(kind: str, secret: str) -> str:
        if secret not in placeholders:
            kinds.append(kind)
            placeholders[secret] = f"<{kind.upper().replace(' ', '_')}_{kinds.count(kind)}>"
        return placeholders[secret]

    def in_text(text: str) -> str:
        lower = text.lower()
        for kind, marks, pattern in _PATTERNS:

            def replaced(found: re.Match, kind: str = kind) -> str:
                group = found.lastindex or 0
                secret = placeholder(kind, found[group]) if "<" not in found[group] else found[group]  # masked by now
                return found[0].replace(found[group], secret)

            if any(mark in lower for mark in marks):
                text = pattern.sub(replaced, text)
        return text

    def walk(value: Any, change: Callable[[str], str], key: str = "") -> Any:
        if isinstance(value, dict):
            return {change(step): walk(below, change, step) for step, below in value.items()}
        if isinstance(value, list):
            return [walk(below, change, key) for below in value]
        if isinstance(value, str) and _KEY.match(key) and re.fullmatch(r"[^\s<>]{6,}", value):
            return placeholder("password", value)
        return change(value) if isinstance(value, str) else value

    row = walk(row, in_text)
    if again := [secret for secret in placeholders if len(secret) >= 10 or re.search(r"\d", secret)]:  # no usual word
        pattern = re.compile("|".join(map(re.escape, sorted(again, key=len, reverse=True))))
        row = walk(row, lambda text: pattern.sub(lambda found: placeholders[found[0]], text))
    return row, kinds
