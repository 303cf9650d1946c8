"""Chat and completion in OpenAI's words, by a generator, a tokenizer and a chat template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ipfs_accelerate_py.errors import ContextLengthExceeded, InvalidRequest
from ipfs_accelerate_py.runtimes.engines.base import Source
from ipfs_accelerate_py.types import Chunk

from .base import Generator, Prompt
from .choices import Choices, Telling
from .constraints import Constraints
from .forcing import check_tools, forced, most_calls, tool_constraint
from .options import Asked, read_options
from .reading import Reader
from .templates import Template
from .tool_calls import Format, format_of

__all__ = ["Talk"]

#: Of a completion that names no limit: OpenAI's own default.
_COMPLETION = 16
#: What a checkpoint's generation settings may say about how its answers are sampled.
_DEFAULTS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


class Talk:
    """See `Conversation`.

    What a request does not say is taken from the checkpoint's generation settings, and else is as OpenAI has it.
    """

    def __init__(
        self, generator: Generator, tokenizer: Any, source: Source, *, trust_remote_code: bool = False
    ) -> None:
        from .making import end_ids, generation_config

        self._generator, self._tokenizer, self._source = generator, tokenizer, source
        self._remote = trust_remote_code
        self._template = Template(tokenizer, source.name)
        self._format: Format | None = None
        self._sight: Any = None
        self._sees = hasattr(source.config, "vision_config")
        self._literal = Constraints(tokenizer, 0, end_ids(source, tokenizer)).literal
        own = generation_config(source)
        found = {name: getattr(own, name, None) for name in _DEFAULTS}
        # Settings that say nothing of sampling mean OpenAI's, not those of a greedy search.
        self._defaults = {name: value for name, value in found.items() if value is not None}

    # --- what is asked -----------------------------------------------------------------------------------------------

    def chat(
        self,
        messages: list[dict[str, Any]],
        options: Mapping[str, Any],
        told: Callable[[Chunk | Exception], None],
        *,
        priority: int = 1,
    ) -> Choices:
        asked = read_options(options, self._defaults, chat=True)
        tools = check_tools(asked.options)
        prompt, text = self._prompt(messages, {**asked.options, "tools": tools})
        known = self._calls() if tools else None
        must = forced(tools, asked.options)
        if known is not None:
            self._constrain(asked, tools, must, known)
        think = self._template.think
        thinking = think is not None and text.rstrip().endswith(think[0])
        names = {each["function"]["name"] for each in tools}
        # A form that was asked for leaves no room for thoughts.
        free = asked.sampling.constraint is None

        def reader() -> Reader:
            return Reader(known, names, think if free else None, thinking=thinking)

        self._limit(asked, len(prompt.ids), None)
        return self._begin([prompt], asked, told, reader, priority, chat=True)

    def complete(
        self,
        prompt: str | list[int],
        options: Mapping[str, Any],
        told: Callable[[Chunk | Exception], None],
        *,
        priority: int = 1,
    ) -> Choices:
        asked = read_options(options, self._defaults, chat=False)
        if isinstance(prompt, str):
            special = bool(asked.options.get("add_special_tokens", True))
            ids = self._tokenizer(prompt, add_special_tokens=special)["input_ids"]
            if not ids and self._tokenizer.bos_token_id is not None:
                ids = [self._tokenizer.bos_token_id]
            if not ids:
                raise InvalidRequest("the prompt is empty: give some text", status=400, param="prompt")
        elif isinstance(prompt, list) and all(isinstance(each, int) and not isinstance(each, bool) for each in prompt):
            ids = prompt
        else:
            raise InvalidRequest("a prompt is a text or a list of token ids", status=400, param="prompt")
        self._limit(asked, len(ids), _COMPLETION)
        if getattr(self._source.config, "is_encoder_decoder", False):
            import numpy as np

            made = Prompt(features={"input_ids": np.asarray(ids, np.int64)})
        else:
            made = Prompt(ids=list(ids))
        before = ""
        if asked.echo:
            before = prompt if isinstance(prompt, str) else self._tokenizer.decode(prompt, skip_special_tokens=True)
        return self._begin([made], asked, told, Reader, priority, chat=False, before=before)

    def count(self, messages: list[dict[str, Any]], options: Mapping[str, Any]) -> int:
        prompt, _ = self._prompt(messages, {**options, "tools": check_tools(options)})
        return len(prompt.ids)

    def snapshot(self) -> Mapping[str, Any]:
        return self._generator.snapshot()

    def close(self) -> None:
        """Nothing is held here; the generator is closed by who made it."""

    # --- within ------------------------------------------------------------------------------------------------------

    def _prompt(self, messages: list[dict[str, Any]], options: Mapping[str, Any]) -> tuple[Prompt, str]:
        if self._sees:
            from ipfs_accelerate_py.runtimes.processing.sight import Sight

            if Sight.has_images(messages):
                return self._look(messages, options), ""
        text = self._template.render(messages, options)
        return Prompt(ids=self._template.ids(text)), text

    def _look(self, messages: list[dict[str, Any]], options: Mapping[str, Any]) -> Prompt:
        from ipfs_accelerate_py.runtimes.processing.base import Context
        from ipfs_accelerate_py.runtimes.processing.sight import Sight

        if self._sight is None:
            self._sight = Sight(
                Context(
                    path=self._source.path,
                    config=self._source.config,
                    auto=self._source.auto,
                    trust_remote_code=self._remote,
                )
            )
        found: Prompt = self._sight.prompt(messages, options)
        return found

    def _calls(self) -> Format:
        """How this model writes calls of tools."""
        if self._format is None:
            self._format = format_of(
                self._template.text, lambda messages: self._template.render(messages, {"add_generation_prompt": False})
            )
        return self._format

    def _constrain(self, asked: Asked, tools: list[Any], must: list[Any], known: Format) -> None:
        sampling, most = asked.sampling, most_calls(asked.options)
        if must:
            if sampling.constraint is not None:
                raise InvalidRequest(
                    "a call that is required and a response_format cannot be had together",
                    status=400,
                    param="tool_choice",
                )
            sampling.constraint = tool_constraint(must, known, self._literal, most=most)
        elif sampling.constraint is not None and (
            "json_schema" in sampling.constraint or "json_object" in sampling.constraint
        ):
            schema = sampling.constraint.get("json_schema", {"type": "object"})
            sampling.constraint = tool_constraint(tools, known, self._literal, schema, most=most)

    def _limit(self, asked: Asked, length: int, default: int | None) -> None:
        """Leaves room for the answer, or says by how much it is too long."""
        most = self._generator.max_positions
        wanted = asked.sampling.max_tokens
        if length + max(1, wanted or 1) > most:
            beside = f" and max_tokens is {wanted}" if wanted is not None else ""
            raise ContextLengthExceeded(
                f"the model's context is {most} tokens; the prompt has {length}{beside}: shorten it, or ask for less",
                status=400,
                param="messages",
            )
        if wanted is None:
            asked.sampling.max_tokens = None if default is None else min(default, most - length)

    def _begin(
        self,
        prompts: list[Prompt],
        asked: Asked,
        told: Callable[[Chunk | Exception], None],
        reader: Callable[[], Reader],
        priority: int,
        *,
        chat: bool,
        before: str = "",
    ) -> Choices:
        (prompt,) = prompts
        telling = Telling(told, self._source.name, self._tokenizer, chat=chat, before=before)
        return Choices.begin(self._generator, prompt, asked, telling, reader, priority)
