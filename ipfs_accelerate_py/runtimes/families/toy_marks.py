"""The special tokens that a type's processor looks for: where an image goes, how one begins and ends.

A real checkpoint's tokenizer has them; a tiny one's must too. They are in the code of the processor's class (literals,
or attributes that it reads from the tokenizer), so they are read from there, and a type that Transformers gains has its
own without a line here.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ipfs_accelerate_py.runtimes.extras import require

from .lent import LENT, NAMED

__all__ = ["Marks", "marks_of"]

_ROLES = {f"{role}_token" for role in ("pad", "unk", "bos", "eos", "cls", "sep", "mask", "additional_special")}
_NAMED = re.compile(r"\w+_(token|TOKEN)")
_TOKEN = re.compile(r"<[^<>\s{}]{2,40}>|\|[A-Z]+\||\[[A-Z_]+\]")
#: Of several tokens of an image, that which the network puts its features in place of, the likeliest first.
_PLACES = ("img_atom_token", "context_image_token", "img_patch_token", "patch_token", "image_token")


@dataclass(frozen=True, slots=True)
class Marks:
    """What one processor's class looks for.

    Attributes:
        named: tokens by the name that the processor, or the tokenizer, has for each (``image_token``).
        read: names among them that it reads from the tokenizer as attributes.
        others: further tokens that it writes.
        mark: name of the one that stands for an image in a text.
        place: name of the one whose place an image's features take, which the configuration numbers.
    """

    named: Mapping[str, str] = field(default_factory=dict)
    read: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    mark: str = ""
    place: str = ""


@cache
def marks_of(model_type: str) -> Marks:
    """Those of a type's processor; none where it has no processor."""
    table = require("transformers.models.auto.processing_auto").PROCESSOR_MAPPING_NAMES
    name = NAMED.get(model_type) or table.get(model_type) or table.get(LENT.get(model_type, ""))
    home = require("transformers")._class_to_module.get(name, "")
    spec = importlib.util.find_spec(f"transformers.{home}") if home else None
    if spec is None or spec.origin is None:
        return Marks()
    tree = ast.parse(Path(spec.origin).read_text("utf-8"))
    return _marks(tree)


def _marks(tree: ast.Module) -> Marks:
    named: dict[str, str] = {}
    source: dict[str, str] = {}
    for target, value in _assigned(tree):
        if (literal := _literal(value)) is not None:
            named.setdefault(target, literal)
        if (attribute := _attribute(value)) is not None:
            source.setdefault(target, attribute)
    read = sorted((_read(tree) | _sought(tree)) - _ROLES)
    read = [each for each in read if each not in named or _always(tree, each)]
    for each in read:
        named.setdefault(each, f"<{each.removesuffix('_token')}>")
    named = {name: token for name, token in named.items() if name not in _ROLES}
    mark = "image_placeholder_token" if "image_placeholder_token" in named else source.get("image_token", "image_token")
    if "<IMG_ATOM>" in _written(tree):
        named["img_atom_token"] = "<IMG_ATOM>"  # noqa: S105 - no password
    place = next((each for each in _PLACES if each in named), "")
    others = tuple(sorted(_written(tree) - set(named.values())))
    return Marks(named, tuple(read), others, mark if mark in named else place, place)


def _assigned(tree: ast.AST) -> list[tuple[str, ast.expr]]:
    """Every value that is given to a name of a token: an attribute, a constant of the class, an argument's default."""
    found: list[tuple[str, ast.expr]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                name = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
                if _NAMED.fullmatch(name):
                    found.append((name.lower(), node.value))
        elif isinstance(node, ast.FunctionDef) and node.name == "__init__":
            arguments = node.args.args[len(node.args.args) - len(node.args.defaults) :]
            for argument, default in zip(arguments, node.args.defaults, strict=True):
                if _NAMED.fullmatch(argument.arg):
                    found.append((argument.arg, default))
    return found


def _literal(value: ast.expr) -> str | None:
    for node in ast.walk(value):
        found = node.value if isinstance(node, ast.Constant) else None
        if isinstance(found, str) and found and not _NAMED.fullmatch(found.removesuffix("_id")):
            return found
    return None


def _attribute(value: ast.expr) -> str | None:
    """The tokenizer's attribute that is all of a value."""
    if isinstance(value, ast.Attribute) and _of_tokenizer(value) and _NAMED.fullmatch(value.attr):
        return value.attr
    return None


def _of_tokenizer(node: ast.Attribute) -> bool:
    return "tokenizer" in (getattr(node.value, "id", ""), getattr(node.value, "attr", ""))


def _read(tree: ast.AST) -> set[str]:
    """Names of tokens (or of their numbers) that are read from the tokenizer."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and _of_tokenizer(node):
            name = node.attr.removesuffix("_id")
            if _NAMED.fullmatch(name):
                found.add(name)
    return found


def _sought(tree: ast.AST) -> set[str]:
    """Names that are asked for and taken for None where there is none."""
    return {
        str(getattr(node.args[1], "value", ""))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "getattr"
        and [getattr(each, "value", each) for each in node.args[2:]] == [None]
        and getattr(node.args[0], "id", "") == "tokenizer"
        and _NAMED.fullmatch(str(getattr(node.args[1], "value", "")))
    }


def _always(tree: ast.AST, name: str) -> bool:
    """Whether a token is read whatever the tokenizer has: nothing asks for it first."""
    asked = {
        node.args[1].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") in ("hasattr", "getattr")
        and len(node.args) > 1
        and isinstance(node.args[1], ast.Constant)
    }
    return not asked & {name, f"{name}_id"}


def _written(tree: ast.Module) -> set[str]:
    """Tokens in the texts of the code; what is in docstrings is none."""
    told = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            told.add(id(node.value))
    found: set[str] = set()
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and id(node) not in told else None
        if isinstance(text, str) and len(text) < 200:  # longer ones are templates and descriptions
            found.update(_TOKEN.findall(text))
    return found
