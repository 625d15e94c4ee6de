"""YAML that people write, a recipe first of all: values, the line each stands on, and the command line's overrides.

The YAML is version 1.2's core: `2e-4` is a number, `yes`, `on` and `2026-01-02` are text, a key may stand only once.
There are no aliases and no tags, so that nothing grows or runs when it is read.
"""

import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from cft.errors import CFTError, DataError, RecipeError
from cft.files import listed
from cft.foreign import read_text
from cft.recipe.faults import MISSING, MOST_FAULTS, OVERRIDE, Fault, KeyPath, by_line, cut, show
from cft.words import CONTROL, damage, tidy

_Place = Callable[[yaml.Node], str]  # where a node stands

MOST_BYTES = 1 << 18  # PyYAML reads so much in some seconds
DEEPEST = 24  # blocks in each other, of a file and of an override
LARGEST = 1e15  # of the numbers of a recipe: above it a float is no longer exact, and products of a few overflow

_TAG = "tag:yaml.org,2002:"
_SCALARS = {  # tag -> pattern, first characters, how to read it; the first pattern that matches wins
    "null": (r"(?:~|null|Null|NULL|)", "~nN", lambda text: None),
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)", "tTfF", lambda text: text.lower() == "true"),
    "int": (r"[-+]?[0-9]+", "-+0123456789", int),
    "float": (
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        "-+0123456789.",
        lambda text: float(re.sub(r"\.(?=[in])", "", text.lower())),
    ),
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 PyYAML keeps them on the class


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or this reader would not read back as text, and writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, (_pattern, _first, _) in _SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(rf"^{_pattern}$"), [*_first, *[""] * (_name == "null")])


def dump_yaml(value: Any) -> str:
    """YAML that `read_source` reads back as the same value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class Source:
    """The values of a recipe file, to be overridden, with the place and the faults of each."""

    def __init__(self, path: Path, error: type[CFTError] = RecipeError, largest: float = LARGEST) -> None:
        """Read `path`; numbers beyond `largest` are faults.

        Raises:
            CFTError: of the class `error`: the file cannot be read, is no YAML, or is not a mapping. Lesser faults are
                collected.
        """
        self.path, self.largest, self.faults = path, largest, []
        self.places: dict[KeyPath, str] = {}  # FILE:LINE of each value, or "override"
        self.name = os.path.relpath(path) if path.absolute().is_relative_to(Path.cwd()) else str(path)
        root = _compose(read_text(path, error, MOST_BYTES), self.name, error)
        self.value = self._build(root, (), lambda node: f"{self.name}:{node.start_mark.line + 1}", set())
        if not isinstance(self.value, dict):
            recipe = "A recipe has the keys name, model, data, train and eval; start from a copy: cft copy quickstart"
            fix = recipe if error is RecipeError else "Write KEY: VALUE lines"
            line = root.start_mark.line + 1
            raise error(f"{self.name}:{line}: holds {show(self.value)}, not a mapping. {fix}.")

    def place(self, path: KeyPath) -> str:
        """The place of the value at `path`, or of the nearest block around it."""
        around = (path[:length] for length in range(len(path), -1, -1))
        return next((self.places[p] for p in around if p in self.places), "")

    def locate(self, faults: Iterable[Fault]) -> list[Fault]:
        """The faults with their places, in the order of the file; only the first one of each value."""
        first: dict[tuple[KeyPath, str], Fault] = {}
        for fault in faults:
            place = fault.place or self.place(fault.path)
            first.setdefault((fault.path, place), replace(fault, place=place))
        return sorted(first.values(), key=by_line)

    def _build(self, node: yaml.Node, path: KeyPath, place: _Place, seen: set[int]) -> Any:
        """The value of `node`. Notes the place of all that is in it, and what no recipe may hold."""
        self.places.setdefault(path, place(node))
        kind = node.tag.removeprefix(_TAG)
        if id(node) in seen:
            return self._refuse(path, node, place, "is an alias (*name)", "Write the value out")
        seen.add(id(node))
        if len(path) > DEEPEST:
            return self._refuse(path[:1], node, place, "is nested too deeply", "Simplify it")
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._build_mapping(node, path, place, seen)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self._build(item, (*path, i), place, seen) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and kind == "str":
            if said := damage(node.value, quoted=False):
                fault, _, fix = said.partition("; ")
                self.faults.append(Fault(path, fault, fix[0].upper() + fix[1:], place=place(node)))
                return tidy(node.value)  # further checks look at it too
            return node.value
        if isinstance(node, yaml.ScalarNode) and kind in _SCALARS:
            try:
                value = _SCALARS[kind][2](node.value)
            except ValueError:
                return self._refuse(path, node, place, f"cannot be read as {kind}", "Correct it, or put it in quotes")
            if isinstance(value, float) and not math.isfinite(value):
                return self._refuse(path, node, place, "is no finite number", "Write a number, or put text in quotes")
            if isinstance(value, int | float) and abs(value) > self.largest:
                return self._refuse(
                    path, node, place, f"is beyond {self.largest:g}", "Write a smaller number, or put text in quotes"
                )
            return value
        return self._refuse(path, node, place, f"has the tag {node.tag}", "Remove the tag, and write plain YAML")

    def _build_mapping(self, node: yaml.MappingNode, path: KeyPath, place: _Place, seen: set[int]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            text = isinstance(key_node, yaml.ScalarNode) and key_node.tag == f"{_TAG}str"
            if not text or CONTROL.search(key_node.value):
                key = key_node.value if isinstance(key_node, yaml.ScalarNode) and not text else "?"
                self._refuse((*path, key), key_node, place, "is a key that is not text", "Put it in quotes")
                continue
            below = (*path, key_node.value)
            if key_node.value in values:
                fix = f"Remove one of them; the first is {self.places[below]}"
                self.faults.append(Fault(below, "the key is there twice", fix, place=place(key_node)))
                continue
            self.places[below] = place(key_node)
            values[key_node.value] = self._build(value_node, below, place, seen)
        return values

    def _refuse(self, path: KeyPath, node: yaml.Node, place: _Place, fault: str, fix: str) -> None:
        value = tidy(node.value) if isinstance(node, yaml.ScalarNode) and node.value else MISSING
        self.faults.append(Fault(path, fault, fix, value, place(node)))

    def override(self, text: str, depth: int = 0) -> None:
        """Set one value: `key.sub=value`, the value in YAML, items by index, at most `depth` steps deep if not 0."""
        key, equals, written = text.partition("=")
        steps = path = tuple(key.strip().split(".", depth - 1))
        if not equals or not all(steps) or len(steps) > DEEPEST or CONTROL.search(text):
            fix = "Write KEY=VALUE without spaces around the =, as in seed=1 or train.lora.r=8"
            return self._refuse_override((cut(tidy(text), 60),), "is no override", fix)
        if not written.strip():
            return self._refuse_override(path, "has no value", f"Write {key}=null, or {key}='\"\"' for empty text")
        try:
            root = _compose(written, f"override {key}", RecipeError)
        except RecipeError:
            return self._refuse_override(path, "is not YAML", "Put the value in quotes", written)
        holder: Any = self.value
        path = ()
        for step in steps:
            if path:
                if isinstance(holder, dict) and holder.get(path[-1]) is None:
                    holder[path[-1]] = {}
                    self.places[path] = OVERRIDE
                holder = holder[path[-1]]
            path = (*path, int(step) if isinstance(holder, list) and step.isdecimal() and len(step) < 9 else step)
            if isinstance(holder, list) and path[-1] not in range(len(holder)):
                fault = f"there is no item {step:.20}, the list has {len(holder)}"
                return self._refuse_override(path, fault, "Count items from 0, or set the whole list")
            if not isinstance(holder, dict | list):
                fault = f"the key above it is {show(holder)}, which has no keys"
                return self._refuse_override(path, fault, "Set that key itself")
        if any(place == OVERRIDE for at, place in self.places.items() if at[: len(path)] == path):
            return self._refuse_override(path, "is overridden twice", "Give it once")
        self.faults = [f for f in self.faults if f.path[: len(path)] != path]
        for old in [p for p in self.places if p[: len(path)] == path]:
            del self.places[old]
        holder[path[-1]] = self._build(root, path, lambda node: OVERRIDE, set())

    def _refuse_override(self, path: KeyPath, fault: str, fix: str, value: Any = MISSING) -> None:
        self.faults.append(Fault(path, fault, fix, value, OVERRIDE))


def read_yaml(path: Path, error: type[CFTError] = DataError, largest: float = 1e40) -> dict[str, Any]:
    """The mapping that a YAML file other than a recipe holds, read as strictly as a recipe.

    Raises:
        CFTError: of the class `error`: as in `Source`, and with all lesser faults.
    """
    source = Source(path, error, largest)
    if source.faults:
        faults = listed(list(map(str, sorted(source.faults, key=by_line))), MOST_FAULTS)
        raise error(f"{source.name}: {len(source.faults)} fault(s)\n  {faults}")
    return source.value


def _compose(text: str, name: str, error: type[CFTError]) -> yaml.Node:
    """The node tree of `text`, which must be one YAML document."""
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        what = " ".join(filter(None, [fault.context, fault.problem]))
        raise error(f"{name}:{mark.line + 1}:{mark.column + 1}: is not YAML, {what:.200}. {_fix(what)}.") from None
    except yaml.reader.ReaderError as fault:
        line = text.count("\n", 0, fault.position) + 1
        code = fault.character if isinstance(fault.character, int) else ord(fault.character)
        raise error(f"{name}:{line}: holds the control character U+{code:04X}. Remove it.") from None
    except RecursionError:
        raise error(f"{name}: is nested too deeply. Simplify it.") from None
    except (ValueError, OverflowError) as fault:  # "\UFFFFFFFF" is no character, a version has 5,000 digits
        raise error(f"{name}: is not YAML, {fault}. Correct it.") from None
    if node is None:
        copy = " Start from a copy of a shipped recipe: cft copy quickstart" if error is RecipeError else ""
        raise error(f"{name}: is empty.{copy}")
    return node


def _fix(problem: str) -> str:
    if "'\\t'" in problem:
        return "Indent with spaces, not tabs"
    if "mapping values are not allowed" in problem:
        return "Put text that holds a colon in quotes, and check the indentation"
    if "single document" in problem:
        return "Keep one document in a file: remove what follows ---"
    return "Check quotes, brackets and indentation there"
