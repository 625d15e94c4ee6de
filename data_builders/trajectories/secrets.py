"""Keys, tokens, passwords and mail addresses of a row, replaced before anything of it is shown or written.

A value has one placeholder wherever it stands in a row, so that a call and its result still agree. What has no form of
its own (names, addresses of houses, telephone numbers, folders) is not found.
"""

import re
from collections.abc import Callable
from typing import Any

_WORD = r"(?:api|access|secret|private|auth)[_-]?key|passw(?:or)?d|passphrase|secret"
_IS = r"\\*[\"']?\s{0,4}[:=]\s{0,4}"
# No value but code: a call, an index, an attribute, a type such as Uint8Array.
_NO_CODE = r"(?!\w{1,99}[.(\[]|(?:[A-Z][a-z]+\d{0,2}){2,9}\b)"
_MIXED = r"(?=[\w+/.~!#%^*-]{0,99}\d)(?=[\w+/.~!#%^*-]{0,99}[A-Za-z])"
_NO_MAIL = "png|jpe?g|gif|svg|webp|service|socket|timer|target|mount|py|js|ts|json|html|css"  # what ends so is a file
# Kind, texts of which one must be there (in lower case; a cheap test), and the pattern. A group is what is replaced.
# Repeats are bounded, or begin at a mark of their own, so that no long text takes quadratic time.
_PATTERNS = [
    (kind, marks.split(), re.compile(pattern, re.DOTALL))
    for kind, marks, pattern in [
        ("private key", "private",
         r"-----BEGIN[^-]{0,40}PRIVATE KEY(?: BLOCK)?-----"
         r"(?:.{0,8000}?-----END[^-]{0,40}PRIVATE KEY(?: BLOCK)?-----|[\w+/=\s\\]*)"),
        ("key", "sk- ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- hf_ npm_ xox akia asia aiza k_live_ k_test_ ya29. eyj "
         "gsk_ xai- pypi- sg. r8_ gocspx- nvapi- tvly- dop_v1_ shpat_ shpca_ shppa_ xapp- lin_api_",
         r"\b(?:sk-(?=[\w-]{0,200}\d)[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
         r"|(?:hf|npm|gsk|r8|dop_v1|shp(?:at|ca|pa)|lin_api)_[A-Za-z0-9]{20,}|xai-[A-Za-z0-9]{20,}|pypi-Ag[\w-]{16,}"
         r"|SG\.[\w-]{16,}\.[\w-]{16,}|GOCSPX-[\w-]{20,}|nvapi-[\w-]{20,}|tvly-(?:\w{1,9}-)?[A-Za-z0-9]{16,}"
         r"|xapp-\d-[\w-]{10,}|xox[a-z]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}\b|AIza[\w-]{30,}"
         r"|[rs]k_(?:live|test)_\w{16,}|ya29\.[\w-]{20,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*)"),
        ("key", ":aa", r"(?<!\d)\d{8,10}:AA[\w-]{33}(?![\w-])"),  # a bot of Telegram
        ("key", "hooks.slack.com accountkey= accesskey=",
         r"(?:hooks\.slack\.com/services/|A(?:ccount|ccess)Key=)([\w+/]{10,}={0,2})"),
        ("key", "bearer", r"\b(?i:bearer)\s{1,4}((?=[\w.~+/-]{0,200}\d)[\w.~+/-]{12,}=*)"),
        ("key", "authorization",
         rf"(?i:authorization){_IS}\\*[\"']?(?i:basic|token|apikey)\s{{1,4}}"
         r"((?=[\w.~+/-]{0,200}(?:\d|[a-z][A-Z]))[\w.~+/-]{8,}=*)"),
        ("key", "cookie", r"(?i:\b(?:set-)?cookie\\*[\"']?:)\s{0,4}\\*[\"']?([\w.-]{1,64}=[^\r\n\"'\\]{6,4000})"),
        ("password", "://", r"(?<=://)([^\s/:@\"'{}]{0,64}:(?!\$)[^\s/@\"'{}]{1,128})(?=@)"),
        ("password", "curl",
         r"\bcurl\b[^\n]{0,200}?\s(?:-\w{0,5}u|--user)[ =]?[\"']?([^\s:\"'${}]{1,64}:(?!\$)[^\s\"'{}]{1,128})"),
        ("password", "--",
         r"--(?:[a-z]{1,20}-)?passw(?:or)?d(?:=|\s{1,2})[\"']?(?![A-Z_]+\b)([^\s\"'`$<>{}\[\]-][^\s\"'`$<>{}]{5,200})"),
        ("password", "_key -key apikey accesskey secretkey privatekey authkey passw passphrase secret",
         rf"(?i:{_WORD}){_IS}(?:\\*[\"'](?!\$)([^\s\"'\\<>{{}}]{{6,200}})\\*[\"']"
         rf"|{_NO_CODE}((?=[\w+/.~!#%^*-]{{0,99}}\d)[\w+/.~!#%^*-]{{8,200}}))"),
        ("password", "token", rf"(?i:token){_IS}\\*[\"']?{_NO_CODE}({_MIXED}[\w+/.~!#%^*-]{{8,200}})"),
        ("password", "password= passwd= secret= token= key=",
         rf"(?<![\w-])(?:[A-Z0-9_]{{0,40}}(?:PASSW(?:OR)?D|SECRET|TOKEN|API_KEY|ACCESS_KEY)={_NO_CODE}([^\s\"'$<{{]{{6,200}})"
         rf"|[A-Z0-9_]{{1,40}}_KEY={_NO_CODE}({_MIXED}[\w+-]{{8,200}}))"),
        ("mail address", "@",
         r"(?<![\w.+-])(?!git@)[\w+-][\w.+-]{0,63}@(?!(?:[\w-]+\.){0,4}(?:example|test|invalid|localhost)\b)"
         rf"[\w-]{{1,63}}(?:\.[\w-]{{1,63}}){{0,4}}\.(?!(?:{_NO_MAIL})\b)[A-Za-z]{{2,24}}\b(?![(\[]|\.\w)"),
    ]
]  # fmt: skip
_KEY = re.compile(rf"(?i)^(?:\w{{0,40}}[_-])?(?:{_WORD}|(token))$")
_PLAIN = re.compile(rf"(?i)(?:\w{{0,40}}[_-])?(?:{_WORD}|token)|string|object|number|boolean|integer|required")


def mask(row: Any) -> tuple[Any, list[str]]:
    """A copy of the row with a placeholder for every secret, as `<PASSWORD_1>`, and the kind of each different one.

    Mail addresses of reserved domains (example.com) stay.
    """
    placeholders: dict[str, str] = {}
    kinds: list[str] = []
    named: set[str] = set()  # what stands under a key of its own, and is a secret even if it is a usual word

    def placeholder(kind: str, secret: str) -> str:
        if secret not in placeholders:
            kinds.append(kind)
            placeholders[secret] = f"<{kind.upper().replace(' ', '_')}_{kinds.count(kind)}>"
        return placeholders[secret]

    def in_text(text: str) -> str:
        lower = text.lower()
        for kind, marks, pattern in _PATTERNS:

            def replaced(found: re.Match, kind: str = kind) -> str:
                secret, (start, end) = found[found.lastindex or 0], found.span(found.lastindex or 0)
                masked = placeholder(kind, secret) if "<" not in secret else secret  # masked by now
                return found.string[found.start() : start] + masked + found.string[end : found.end()]

            if any(mark in lower for mark in marks):
                text = pattern.sub(replaced, text)
        return text

    def walk(value: Any, change: Callable[[str], str], key: str = "") -> Any:
        if isinstance(value, dict):
            return {change(step): walk(below, change, step) for step, below in value.items()}
        if isinstance(value, list):
            return [walk(below, change, key) for below in value]
        text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        if (
            (found := _KEY.match(key))
            and re.fullmatch(r"[^\s<>]{6,}", text)
            and (not found[1] or re.match(_MIXED, text))
        ):
            named.add(text)
            return placeholder("password", text)
        return change(value) if isinstance(value, str) else value

    row = walk(row, in_text)
    again = [one for one in placeholders if len(one) >= 10 or re.search(r"\d", one) or one in named]  # no usual word
    if again := [one for one in again if not _PLAIN.fullmatch(one)]:
        either = "|".join(map(re.escape, sorted(again, key=len, reverse=True)))
        pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)")
        row = walk(row, lambda text: pattern.sub(lambda found: placeholders[found[0]], text))
    return row, kinds
