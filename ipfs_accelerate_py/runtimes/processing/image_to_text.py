"""Text about images, written token by token: captions, answers, what stands in a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ipfs_accelerate_py.results import Text
from ipfs_accelerate_py.runtimes.generation.base import Answer, Prompt, Sampling

from .base import Context
from .options import bad_option
from .pictures import refuse
from .sight import Sight, pictures_of

__all__ = ["ImageTextToText", "ImageToText"]

#: Most tokens where the caller does not say: a caption is short, a page of text is not.
_MOST = 256


class ImageTextToText:
    """Input: a mapping of ``image`` (or ``images``) and ``text``; or of ``messages`` in OpenAI's shape, with images as
    their parts. Options: those of `Sampling`; temperature is 0 where it is not given, ``max_tokens`` 256.

    A model with a chat template gets the text as a user's message; another one gets it as it is, with its own mark for
    each image before it where the text has none.
    """

    def __init__(self, context: Context) -> None:
        self.sight = Sight(context)

    def prompts(self, given: Any, options: Mapping[str, Any]) -> list[tuple[Prompt, Sampling]]:
        if isinstance(given, Mapping) and given.get("messages") is not None:
            return [(self.sight.prompt(given["messages"], options), sampling(options))]
        text = given.get("text", options.get("text", "")) if isinstance(given, Mapping) else options.get("text", "")
        if not isinstance(text, str):
            raise refuse(f"input: 'text' is no text but {type(text).__name__}", "input")
        return [(self.asked(text, pictures_of(given), options), sampling(options))]

    def asked(self, text: str, pictures: list[Any], options: Mapping[str, Any]) -> Prompt:
        """A text and its images, by the model's own form of a question."""
        sight = self.sight
        # Without a mark of its own, only a template that was made for images (the processor's) says where one goes.
        own = getattr(sight.processor, "chat_template", None) is not None
        if sight.template is not None and (sight.mark not in text if sight.mark else own):
            parts = [*({"type": "image", "image": each} for each in pictures), {"type": "text", "text": text}]
            return sight.prompt([{"role": "user", "content": parts}], options)
        if sight.mark and pictures and sight.mark not in text:
            text = "\n".join([*(sight.mark for _ in pictures), text]) if text else sight.mark * len(pictures)
        return sight.ask(text, pictures)

    def join(
        self, answers: Sequence[Answer], prompts: Sequence[tuple[Prompt, Sampling]], options: Mapping[str, Any]
    ) -> Text:
        return Text(answers[0].text.strip(), answers[0].finish_reason)


class ImageToText(ImageTextToText):
    """Input: an image, or a mapping of ``image`` and ``text`` that the answer begins with (or, for a model that was
    trained on tasks, its word for one: ``<CAPTION>``). Options as of `ImageTextToText`."""

    def asked(self, text: str, pictures: list[Any], options: Mapping[str, Any]) -> Prompt:
        if not pictures:
            raise refuse("input has no image", "input")
        if not text and self.sight.template is None and not self.sight.mark:
            return self.sight.ask("", pictures)
        return super().asked(text, pictures, options)


def sampling(options: Mapping[str, Any]) -> Sampling:
    """How tokens are chosen: the likeliest one where the caller does not say otherwise."""
    told = {name: options[name] for name in Sampling.__struct_fields__ if options.get(name) is not None}
    for name in ("max_new_tokens", "max_completion_tokens"):
        if options.get(name) is not None:
            told.setdefault("max_tokens", options[name])
    if isinstance(told.get("stop"), str):
        told["stop"] = [told["stop"]]
    try:
        found = msgspec.convert({"temperature": 0.0, "max_tokens": _MOST, **told}, Sampling)
    except msgspec.ValidationError as exc:
        raise bad_option("sampling", f"is wrong: {exc}") from exc
    if found.max_tokens is not None and found.max_tokens < 1:
        raise bad_option("max_tokens", "must be at least 1")
    return found
