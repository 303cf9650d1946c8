"""YAML that knows where it came from: every problem is told with its file, line and field, all of them at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ipfs_accelerate_py.credentials import Credentials, Secret, make_secret
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.gateway.extras import missing

try:
    import yaml
except ImportError as error:
    raise missing(error.name) from error

__all__ = ["Field", "Problems", "Section", "as_yaml", "read_yaml"]

T = TypeVar("T")

_ENVIRONMENT = "os.environ/"
_MERGE = "tag:yaml.org,2002:merge"
_NULL = "tag:yaml.org,2002:null"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Problems:
    """What is wrong with a configuration, and what is only worth a warning."""

    def __init__(self, file: str, credentials: Credentials) -> None:
        self.file = file
        self.credentials = credentials
        #: Where relative paths begin.
        self.folder = Path()
        #: Line (0 for what is in no file) and words.
        self.errors: list[tuple[int, str]] = []
        self.warnings: list[str] = []

    def place(self, line: int) -> str:
        return f"{self.file}:{line}"

    def error(self, line: int | None, field: str, text: str) -> None:
        """``line`` is None for what is in no file: then ``field`` is the variable's or option's name."""
        words = f"{field}: {text}" if field else text
        self.errors.append((0, words) if line is None else (line, f"{self.place(line)}: {words}"))

    def warn(self, line: int, field: str, text: str) -> None:
        self.warnings.append(f"{self.place(line)}: {field}: {text}")

    def raise_any(self) -> None:
        """Raise one `ConfigurationError` with every problem, if there is any."""
        if self.errors:
            count = "a problem" if len(self.errors) == 1 else f"{len(self.errors)} problems"
            listed = "\n".join(f"  {words}" for _, words in sorted(self.errors, key=lambda each: each[0]))
            raise ConfigurationError(f"the configuration has {count}:\n{listed}")


class Field:
    """One value with its place. Values are looked at through the methods, each of which reports what it cannot take."""

    def __init__(self, problems: Problems, loader: Any, node: yaml.Node, path: str, line: int) -> None:
        self.problems = problems
        self.path = path
        self.line = line
        self._loader = loader
        self._node = node

    def error(self, text: str) -> None:
        self.problems.error(self.line, self.path, text)

    def warn(self, text: str) -> None:
        self.problems.warn(self.line, self.path, text)

    @property
    def empty(self) -> bool:
        """Whether there is no value (``name:`` and nothing after it)."""
        return bool(self._node.tag == _NULL)

    @property
    def is_list(self) -> bool:
        return isinstance(self._node, yaml.SequenceNode)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self._node, yaml.MappingNode)

    def plain(self) -> Any:
        """The value as YAML has it; a text ``os.environ/NAME`` is the variable's value as YAML would read that."""
        try:
            value = self._loader.construct_object(self._node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            self.error(f"cannot be read: {error}")
            return None
        if isinstance(value, str) and value.startswith(_ENVIRONMENT):
            found = self._variable(value.removeprefix(_ENVIRONMENT))
            return None if found is None else as_yaml(found)
        return value

    def checked(self, check: Callable[[Any], T]) -> T | None:
        """The value, passed through ``check``; what that raises (`ValueError`, `ConfigurationError`) is reported."""
        before = len(self.problems.errors)
        value = self.plain()
        if len(self.problems.errors) > before:
            return None
        try:
            return check(value)
        except (ValueError, ConfigurationError) as error:
            self.error(str(error))
            return None

    def text(self) -> str | None:
        """A text that is not empty."""
        node = self._node
        if not isinstance(node, yaml.ScalarNode) or node.tag == _NULL or not node.value.strip():
            self.error("must be a text" + (" and is empty" if isinstance(node, yaml.ScalarNode) else ""))
            return None
        value: str = node.value.strip()
        if value.startswith(_ENVIRONMENT):
            return self._variable(value.removeprefix(_ENVIRONMENT))
        return value

    def secret(self) -> tuple[str, Secret] | None:
        """A key and what to call it: the variable's name for ``os.environ/NAME``, else ``config``."""
        node = self._node
        name = "config"
        if isinstance(node, yaml.ScalarNode) and node.value.strip().startswith(_ENVIRONMENT):
            name = node.value.strip().removeprefix(_ENVIRONMENT)
        value = self.text()
        if value is None:
            return None
        try:
            return name, make_secret(value, "the key")
        except ConfigurationError as error:
            self.error(str(error))
            return None

    def items(self) -> list[Field]:
        """The entries of a list; a lone value is a list of one."""
        if not isinstance(self._node, yaml.SequenceNode):
            return [self]
        return [
            Field(self.problems, self._loader, node, f"{self.path}[{index}]", node.start_mark.line + 1)
            for index, node in enumerate(self._node.value)
        ]

    def section(self) -> Section | None:
        """The mapping that stands here."""
        if not isinstance(self._node, yaml.MappingNode):
            self.error("must be a mapping (name: value, one a line)")
            return None
        return Section(self.problems, self._loader, self._node, self.path, self.line)

    def sections(self) -> Iterator[Section]:
        """The mappings in the list that stands here."""
        if not isinstance(self._node, yaml.SequenceNode):
            if not self.empty:
                self.error("must be a list (each entry begins with a dash)")
            return
        for item in self.items():
            section = item.section()
            if section is not None:
                yield section

    def _variable(self, name: str) -> str | None:
        """A variable, from the environment and the files that keys are read from."""
        try:
            value = self.problems.credentials.value(None, (), (name,))
        except ConfigurationError as error:
            self.error(str(error))
            return None
        if value is None:
            self.error(f"the variable {name} is not set; export it, or write it into .env")
        return value


class Section:
    """A mapping whose fields are taken one by one; `finish` reports those that nobody took."""

    def __init__(self, problems: Problems, loader: Any, node: yaml.MappingNode, path: str, line: int) -> None:
        self.problems = problems
        self.path = path
        self.line = line
        self._loader = loader
        self._fields: dict[str, Field] = {}
        self._known: list[str] = []
        self._read(node)

    def _read(self, node: yaml.MappingNode) -> None:
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if key.tag == _MERGE:
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
                continue
            if not isinstance(key, yaml.ScalarNode):
                self.problems.error(key.start_mark.line + 1, self.path, "a field's name must be a text")
                continue
            name = str(key.value)
            line = key.start_mark.line + 1
            path = f"{self.path}.{name}" if self.path else name
            if name in self._fields:
                self.problems.error(line, path, f"is here twice (first in line {self._fields[name].line})")
            self._fields[name] = Field(self.problems, self._loader, value, path, line)
        for other in merged:
            if isinstance(other, yaml.MappingNode) and other is not node:
                for name, field in Section(self.problems, self._loader, other, self.path, self.line)._fields.items():
                    self._fields.setdefault(name, field)

    def take(self, *names: str) -> Field | None:
        """The field of the first of these names that is there; None where there is none, or it is empty."""
        self._known += names
        found = [field for name in names if (field := self._fields.pop(name, None)) is not None]
        for other in found[1:]:
            other.error(f"says the same as {found[0].path.rpartition('.')[2]!r}; keep one of them")
        return found[0] if found and not found[0].empty else None

    def rest(self) -> Iterator[tuple[str, Field]]:
        """All fields that nobody took, taking them."""
        fields, self._fields = self._fields, {}
        yield from fields.items()

    def names(self) -> Iterable[str]:
        """The names of the fields that nobody took."""
        return self._fields.keys()

    def finish(self, refused: Mapping[str, str] | None = None, ignored: Mapping[str, str] | None = None) -> None:
        """Report what is left: ``refused`` and ``ignored`` say why for fields that are known all the same."""
        for name, field in self.rest():
            if refused is not None and name in refused:
                field.error(refused[name])
            elif ignored is not None and name in ignored:
                field.warn(ignored[name])
            else:
                near = difflib.get_close_matches(name, self._known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"the fields are: {', '.join(self._known)}"
                field.error(f"is not a field of this section; {hint}")


def as_yaml(text: str) -> Any:
    """What a bare value in YAML stands for: a number, true or false, or the text itself."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506  # a safe loader
    except yaml.YAMLError:
        return text


def read_yaml(text: str, problems: Problems) -> Section | None:
    """The mapping at the top of a document; None (and a problem reported) where there is none."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        what = getattr(error, "problem", None) or str(error)
        problems.error(1 if mark is None else mark.line + 1, "", f"this is not valid YAML: {what}")
        return None
    if node is None:
        return Section(problems, loader, yaml.MappingNode("tag:yaml.org,2002:map", []), "", 1)
    if not isinstance(node, yaml.MappingNode):
        problems.error(node.start_mark.line + 1, "", "the document must be a mapping (model_list: ..., gateway: ...)")
        return None
    return Section(problems, loader, node, "", 1)
