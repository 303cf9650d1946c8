"""Texts with images in them, to token ids and the arrays of the images: what vision-language models are asked with."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import InvalidRequest, MissingExtra, RuntimeUnavailable, UnsupportedOperation
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.generation.base import Prompt

from .base import Context
from .pictures import picture, refuse, refused
from .processors import has_processor, image_processor, processor, tokenizer
from .sight_parts import image_in, parts_of, plain

__all__ = ["Sight"]

# By position of the text, as its ids are; the rest that a processor gives belongs to the images.
_ALONG_TEXT = ("token_type_ids", "mm_token_type_ids", "image_attention_mask", "cross_attention_mask")


class Sight:
    """One checkpoint's way of asking about images. Thread-safe.

    Raises:
        RuntimeUnavailable: the checkpoint has neither a processor nor an image processor with a tokenizer.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        # A compiled tokenizer keeps the settings of padding and cutting in itself.
        self.lock = threading.Lock()
        self.config = context.config
        #: Whether the text goes to an encoder, and the answer begins at the decoder's start.
        self.encodes = bool(getattr(context.config, "is_encoder_decoder", False))
        self.processor: Any = None
        self.tokenizer: Any = None
        self.images: Any = None
        self._itself: bool | None = None
        try:
            self.processor = processor(context)
            self.tokenizer = getattr(self.processor, "tokenizer", None)
            self.images = getattr(self.processor, "image_processor", None)
            if self.tokenizer is None or self.images is None:
                raise RuntimeUnavailable(f"model {context.path.name!r} has no processor of texts and images")
        except (RuntimeUnavailable, MissingExtra) as exc:
            if has_processor(context):  # without it nothing would say where in the text an image goes
                raise
            try:
                self.processor, self.images, self.tokenizer = None, image_processor(context), tokenizer(context)
            except RuntimeUnavailable:
                raise exc from None
        self._told = _generation(context)

    @property
    def template(self) -> str | None:
        """The model's chat template."""
        for holder in (self.processor, self.tokenizer):
            found = getattr(holder, "chat_template", None)
            if isinstance(found, Mapping):
                found = found.get("default")
            if found:
                return str(found)
        return None

    @staticmethod
    def has_images(messages: Sequence[Mapping[str, Any]]) -> bool:
        """Whether any message (in OpenAI's shape) has an image among its parts."""
        return any(image_in(part) is not None for message in messages for part in parts_of(message))

    def prompt(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Prompt:
        """What a conversation asks of the model.

        Args:
            messages: in OpenAI's shape. Parts are ``text``, ``image_url`` (a data URL), ``input_text``,
                ``input_image``, or ``image`` with the bytes or a Pillow image; in any order and number.
            options: ``tools``, ``add_generation_prompt`` (true), ``continue_final_message``,
                ``chat_template_kwargs``, ``chat_template``.

        Raises:
            InvalidRequest: an image cannot be read, or is an address; the template refuses the messages.
            UnsupportedOperation: the model has no chat template, or no place for images.
        """
        text, pictures = self.written(messages, options)
        return self.ask(text, pictures, special=not self._begins(text))

    def written(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """The conversation as the model's template writes it, and its images in order."""
        template = options.get("chat_template") or self.template
        if template is None:
            raise UnsupportedOperation(
                f"model {self.context.path.name!r} has no chat template; ask it with the task image-text-to-text"
            )
        typed = any(mark in template for mark in ("'type'", '"type"', ".type"))
        text, pictures = self._rendered(messages, options, template, typed)
        if pictures and self.mark and self.mark not in text:
            # A template of texts alone drops images: their marks then go into the text itself.
            text, pictures = self._rendered(messages, options, template, typed, inline=True)
        return text, pictures

    def _rendered(
        self,
        messages: Sequence[Mapping[str, Any]],
        options: Mapping[str, Any],
        template: str,
        typed: bool,
        inline: bool = False,
    ) -> tuple[str, list[Any]]:
        pictures: list[Any] = []
        told = [plain(each, typed, self.mark, pictures, inline) for each in messages]
        settings: dict[str, Any] = {
            "add_generation_prompt": options.get("add_generation_prompt", True),
            **(options.get("chat_template_kwargs") or {}),
        }
        if options.get("tools"):
            settings["tools"] = options["tools"]
        if options.get("continue_final_message"):
            settings.update(continue_final_message=True, add_generation_prompt=False)
        try:
            text = self.tokenizer.apply_chat_template(told, chat_template=template, tokenize=False, **settings)
        except Exception as exc:  # a template may raise anything
            raise refuse(f"messages: the model's chat template refuses them: {exc}", "messages") from exc
        return str(text), pictures

    @property
    def mark(self) -> str:
        """What stands for an image in the model's texts; empty where its processor puts it there."""
        found = next(
            (
                token
                for name in ("image_placeholder_token", "image_token")
                for holder in (self.processor, self.tokenizer)
                if (token := getattr(holder, name, None))
            ),
            None,
        )
        return str(getattr(found, "content", found) or "")

    def ask(self, text: str, pictures: Sequence[Any], *, special: bool = True) -> Prompt:
        """A text and its images (Pillow's) as the model takes them.

        Args:
            text: with the model's own mark where each image goes, if it has one.
            pictures: in the order of the marks.
            special: whether the tokenizer adds its tokens (a template has written them already).
        """
        try:
            with self.lock:
                made = self._made(text, list(pictures), special)
        except (InvalidRequest, UnsupportedOperation):
            raise
        except Exception as exc:  # a processor raises whatever its library does
            raise refused("processor", "this text with these images", exc) from exc
        return self._prompt(made)

    def _made(self, text: str, pictures: list[Any], special: bool) -> dict[str, Any]:
        if self.processor is None:
            made = dict(self.tokenizer([text], return_tensors="np", add_special_tokens=special)) if text else {}
            made.update(self.images(images=pictures, return_tensors="np"))
            return made
        if pictures and self.mark and self.mark in text and self._marks_itself():
            text = text.replace(self.mark, "")
        named: dict[str, Any] = {"text": [text]} if text else {}
        if pictures:
            named["images"] = pictures
        if text and not special:
            named["add_special_tokens"] = False
        if text and "mm_token_type_ids" in (self.context.inputs or ()):
            named["return_mm_token_type_ids"] = True  # which positions are of images; positions in space follow from it
        return dict(self.processor(**named, return_tensors="np"))

    def _marks_itself(self) -> bool:
        """Whether the processor writes the marks of images (BLIP-2's, Florence-2's): one of ours would be one more."""
        if self._itself is None:
            blank = require("PIL.Image").new("RGB", (32, 32))
            try:
                made = self.processor(text=["a"], images=[blank], return_tensors="np")
                self._itself = self.tokenizer.convert_tokens_to_ids(self.mark) in made["input_ids"][0]
            except Exception:  # it misses the mark
                self._itself = False
        return self._itself

    def _prompt(self, made: dict[str, Any]) -> Prompt:
        np = require("numpy")
        ids = made.pop("input_ids", None)
        mask = made.pop("attention_mask", None)
        start = made.pop("decoder_input_ids", None)
        features: dict[str, Any] = {}
        flat = []
        for name, value in made.items():
            if self.context.inputs is not None and name not in self.context.inputs:
                continue
            array = np.asarray(value)
            if name in _ALONG_TEXT or (ids is not None and array.shape == np.shape(ids)):
                features[name] = array[0]
            elif array.dtype != object:
                features[name] = array
                flat.append(name)
        if self.encodes and ids is not None and self.context.inputs and "input_ids" not in self.context.inputs:
            # Its encoder takes images alone: a text is what the answer begins with (Donut's word for a task).
            start, ids, mask = [[*self.start(), *(int(each) for each in ids[0])]], None, None
        if not self.encodes:
            given = [int(each) for each in ids[0]] if ids is not None and len(ids[0]) else self.start()
            return Prompt(ids=given, features=features, flat=flat)
        if ids is not None:
            features["input_ids"] = np.asarray(ids[0])
        if mask is not None:
            features["attention_mask"] = np.asarray(mask[0])  # of the text, or (Pix2Struct) of the image's parts
        return Prompt(
            ids=self.start() if start is None else [int(each) for each in start[0]], features=features, flat=flat
        )

    def start(self) -> list[int]:
        """The token that an answer begins with where no text does."""
        text = self.config.get_text_config(decoder=True)
        generation = getattr(self.config, "decoder", None)
        for holder, name in (
            (self._told, "decoder_start_token_id"),
            (self.config, "decoder_start_token_id"),
            (generation, "decoder_start_token_id"),
            (text, "decoder_start_token_id"),
            (text, "bos_token_id"),
            (generation, "bos_token_id"),
            (self.tokenizer, "bos_token_id"),
            (self.tokenizer, "cls_token_id"),
        ):
            found = getattr(holder, name, None)
            if isinstance(found, int):
                return [found]
        return [0]

    def _begins(self, text: str) -> bool:
        """Whether a text that a template wrote has the tokenizer's first token already."""
        first = self.tokenizer.bos_token
        return first is not None and text.startswith(first)


def _generation(context: Context) -> Any:
    """The checkpoint's settings of what it writes; None where it has none in a file of their own."""
    transformers = require("transformers")
    if not (context.path / "generation_config.json").is_file():
        return None
    try:
        return transformers.GenerationConfig.from_pretrained(str(context.path), local_files_only=True)
    except Exception as exc:  # a file of others, read by code of others
        raise RuntimeUnavailable(
            f"model {context.path.name!r} has an unreadable generation_config.json: {exc}"
        ) from exc


def pictures_of(given: Any) -> list[Any]:
    """The images of an input: one, or a list as ``images``."""
    if isinstance(given, Mapping) and isinstance(given.get("images"), list | tuple):
        return [picture(each) for each in given["images"]]
    if isinstance(given, Mapping) and not any(given.get(key) is not None for key in ("image", "data", "url")):
        return []
    return [picture(given)]
