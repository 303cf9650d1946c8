"""Tasks that write a text from a text: continuing, rewriting (summaries and the like), translating."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import InvalidRequest, RuntimeUnavailable
from ipfs_accelerate_py.results import TaskResult, Text
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan, Source
from ipfs_accelerate_py.runtimes.processing.base import Context

from .base import BY_TOKEN, Answer, Prompt, Sampling
from .making import generation_config, load_tokenizer
from .options import RENAMED, read_options

__all__ = ["TOKENS", "Continuation", "Rewriting", "Translation"]

#: Tokens of an answer, where neither the call nor the checkpoint says how many.
TOKENS = 256
_SAMPLED = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


class _TextWriting:
    """What the three have in common: a tokenizer, options, and texts for answers."""

    #: Options of a task's own, beside those of sampling.
    own: frozenset[str] = frozenset()

    def __init__(self, context: Context) -> None:
        self.context, self.config = context, context.config
        source = Source(context.path.name, context.path, context.config, context.auto)
        self.tokenizer = load_tokenizer(source, LoadPlan(trust_remote_code=context.trust_remote_code))
        if self.tokenizer is None:
            raise RuntimeUnavailable(f"model {context.path.name!r} has no tokenizer, so it cannot be given a text")
        self.settings = generation_config(source)
        self.encodes = bool(context.config.is_encoder_decoder)

    def sampling(self, options: Mapping[str, Any]) -> Sampling:
        """How an answer is written: the likeliest tokens, unless the call or the checkpoint says otherwise."""
        given = {key: value for key, value in options.items() if key not in self.own and key not in RENAMED}
        given.update({RENAMED[key]: value for key, value in options.items() if key in RENAMED})
        beams, sampled = given.pop("beams", None), given.pop("do_sample", None)
        defaults: dict[str, Any] = {"temperature": 0.0, "max_tokens": self._tokens()}
        settings = self.settings
        if sampled or (sampled is None and settings.do_sample):
            values = {name: getattr(settings, name, None) for name in _SAMPLED}
            defaults["temperature"] = 1.0
            defaults.update({name: value for name, value in values.items() if value is not None})
        elif settings.repetition_penalty:
            defaults["repetition_penalty"] = settings.repetition_penalty
        made = read_options(given, defaults, chat=False)
        if made.n != 1:
            raise InvalidRequest("n: this task gives one answer to an input", status=400, param="n")
        found = made.sampling
        found.beams = _whole("beams", beams) if beams is not None else int(settings.num_beams or 1)
        if found.beams > 1 and (against := [name for name, off in BY_TOKEN.items() if getattr(found, name) != off]):
            # The checkpoint's own beams give way to what a call asks for; the call's own do not.
            if beams is not None:
                raise InvalidRequest(f"beams cannot be used with {against[0]}", status=400, param="beams")
            found.beams = 1
        if found.beams == 1:
            # Marian's padding, which its decoder would else write (a search has the checkpoint's rules of itself).
            never = [each[0] for each in settings.bad_words_ids or () if len(each) == 1]
            found.logit_bias = {**dict.fromkeys(never, float("-inf")), **found.logit_bias}
        return found

    def _tokens(self) -> int:
        for name in ("max_new_tokens", "max_length"):
            value = getattr(self.settings, name, None)
            # 20 is what Transformers' settings say that say nothing.
            if isinstance(value, int) and value > 0 and not (name == "max_length" and value == 20):
                return value
        return TOKENS

    def prompts(self, given: Any, options: Mapping[str, Any]) -> list[tuple[Prompt, Sampling]]:
        return [(self.ask(_text(given), options), self.sampling(options))]

    def ask(self, text: str, options: Mapping[str, Any]) -> Prompt:
        """The prompt of a text: for an encoder, or to be continued."""
        if self.encodes:
            return self.encoded(self.tokenizer(text)["input_ids"])
        ids = self.tokenizer(text)["input_ids"]
        if not ids and self.tokenizer.bos_token_id is not None:
            ids = [self.tokenizer.bos_token_id]
        if not ids:
            raise InvalidRequest("the input is empty: give some text", status=400, param="input")
        return Prompt(ids=list(ids))

    def encoded(self, ids: Sequence[int], language: int | None = None) -> Prompt:
        """An encoder's input. The decoder begins with its start token, and with the forced one after it."""
        import numpy as np

        limit = getattr(self.config, "max_position_embeddings", None)
        if (
            isinstance(limit, int)
            and self.config.model_type not in ("t5", "mt5", "umt5", "longt5")
            and len(ids) > limit
        ):
            raise InvalidRequest(
                f"the input has {len(ids)} tokens, and the model reads at most {limit}: split it",
                status=400,
                param="input",
            )
        start = self.settings.decoder_start_token_id
        if start is None:
            start = getattr(self.config, "decoder_start_token_id", None)
        if start is None:
            start = next(
                (each for each in (self.tokenizer.bos_token_id, self.tokenizer.pad_token_id) if each is not None), 0
            )
        forced = language if language is not None else self.settings.forced_bos_token_id
        begin = [int(start)] if isinstance(start, int) else [int(start[0])]
        return Prompt(
            ids=[*begin, int(forced)] if forced is not None else begin,
            features={"input_ids": np.asarray(ids, np.int64)},
        )

    def join(
        self, answers: Sequence[Answer], prompts: Sequence[tuple[Prompt, Sampling]], options: Mapping[str, Any]
    ) -> TaskResult:
        (answer,) = answers
        return Text(answer.text, answer.finish_reason)


class Continuation(_TextWriting):
    """What comes after a text. Options: those of sampling; ``return_full_text`` tells the input with it."""

    own = frozenset(("return_full_text",))

    def join(
        self, answers: Sequence[Answer], prompts: Sequence[tuple[Prompt, Sampling]], options: Mapping[str, Any]
    ) -> TaskResult:
        (answer,), ((prompt, _),) = answers, prompts
        before = ""
        if options.get("return_full_text"):
            before = self.tokenizer.decode(prompt.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Text(before + answer.text, answer.finish_reason)


class Rewriting(_TextWriting):
    """A text made of a text: a summary, or whatever the model was made for.

    ``prefix`` (an option) stands before the input; else the one that the checkpoint names for summaries (T5's
    ``task_specific_params``).
    """

    own = frozenset(("prefix",))

    def ask(self, text: str, options: Mapping[str, Any]) -> Prompt:
        prefix = options.get("prefix")
        if prefix is None:
            prefix = _params(self.config, "summarization").get("prefix", "")
        return super().ask(f"{prefix}{text}", options)


class Translation(_TextWriting):
    """Options: ``src_lang`` and ``tgt_lang``, by the tokenizer's own codes (``en_XX``, ``eng_Latn``, ``en``)."""

    own = frozenset(("src_lang", "tgt_lang", "prefix"))

    def ask(self, text: str, options: Mapping[str, Any]) -> Prompt:
        source, target = options.get("src_lang"), options.get("tgt_lang")
        codes = self._codes()
        if codes:
            return self._by_code(text, source, target, codes)
        prefix = options.get("prefix")
        if prefix is None:
            prefix = self._prefix(source, target)
        return super().ask(f"{prefix}{text}", options)

    def _codes(self) -> dict[str, int]:
        """Ids of the languages that the tokenizer has codes for."""
        found: Any = getattr(self.tokenizer, "lang_code_to_id", None)
        if found:
            return dict(found)
        names = getattr(self.tokenizer, "lang_code_to_token", None)
        if names:
            return {code: self.tokenizer.convert_tokens_to_ids(token) for code, token in names.items()}
        if not hasattr(self.tokenizer, "src_lang"):
            return {}
        known = self.tokenizer.get_vocab()
        extra = [str(each) for each in getattr(self.tokenizer, "additional_special_tokens", None) or ()]
        extra += [str(each) for each in getattr(self.tokenizer, "extra_special_tokens", None) or ()]
        return {each: known[each] for each in extra if each in known}

    def _by_code(self, text: str, source: Any, target: Any, codes: Mapping[str, int]) -> Prompt:
        import copy

        for name, value in (("src_lang", source), ("tgt_lang", target)):
            if value is not None and value not in codes:
                some = ", ".join(sorted(codes)[:8])
                raise InvalidRequest(
                    f"{name}: the model has no language {value!r}; it has {some} ...", status=400, param=name
                )
        if target is None and self.settings.forced_bos_token_id is None:
            raise InvalidRequest("tgt_lang: say which language to translate into", status=400, param="tgt_lang")
        tokenizer = self.tokenizer
        if source is not None:
            tokenizer = copy.copy(tokenizer)  # its language is a state
            tokenizer.src_lang = source
        return self.encoded(tokenizer(text)["input_ids"], codes[target] if target is not None else None)

    def _prefix(self, source: Any, target: Any) -> str:
        asked = source is not None or target is not None
        if asked:
            found = _params(self.config, f"translation_{source}_to_{target}")
            if "prefix" in found:
                return str(found["prefix"])
            params = getattr(self.config, "task_specific_params", None) or {}
            known = [name for name in params if name.startswith("translation_")]
            if known:
                pairs = ", ".join(known)
                raise InvalidRequest(
                    f"the model translates {pairs}; give src_lang and tgt_lang of one of them, or a prefix",
                    status=400,
                    param="tgt_lang",
                )
            return ""  # a model of one pair (Marian)
        params = getattr(self.config, "task_specific_params", None) or {}
        return next(
            (str(each.get("prefix", "")) for name, each in params.items() if name.startswith("translation_")), ""
        )


def _params(config: Any, task: str) -> dict[str, Any]:
    found = (getattr(config, "task_specific_params", None) or {}).get(task)
    return dict(found) if isinstance(found, Mapping) else {}


def _text(given: Any) -> str:
    if isinstance(given, Mapping) and isinstance(given.get("text"), str):
        given = given["text"]
    if not isinstance(given, str):
        raise InvalidRequest(f"the input is a text, not {type(given).__name__}", status=400, param="input")
    return given


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidRequest(f"{name} must be a whole number of at least 1, not {value!r}", status=400, param=name)
    return value
