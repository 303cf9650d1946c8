"""Small tokenizers that work as their types' do: of the type's own class, with a few hundred tokens."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.runtimes.extras import require

from .token_ids import REGULAR, VOCABULARY
from .toy_marks import marks_of
from .toy_vocabulary import byte_level, fill, metaspace, word_ends, word_pieces

__all__ = ["CHAT_TEMPLATE", "special_tokens", "write_tokenizer"]

#: ChatML, for types that chat. https://github.com/openai/openai-python/blob/release-v0.28.0/chatml.md
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% elif part['type'] == 'image' %}{{ IMAGE }}"
    "{% elif part['type'] == 'audio' %}{{ AUDIO }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_ROLES = ("pad", "unk", "bos", "eos", "cls", "sep", "mask")
_BERT = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
_PLAIN = {"unk": "<unk>", "bos": "<s>", "eos": "</s>", "pad": "<pad>"}
#: Whisper's own, in its order: they follow each other, and moments of a window of one second come last.
WHISPER = (
    "<|startoftranscript|>",
    *("<|en|>", "<|de|>", "<|fr|>", "<|translate|>", "<|transcribe|>"),
    *("<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
    *(f"<|{at * 0.02:.2f}|>" for at in range(1501)),
)
_PLACED = re.compile(r"(.*)_token_(id|index)")


def write_tokenizer(model_type: str, config: Any, folder: Path) -> Any:
    """Make the type's tokenizer, write its files into ``folder``, and give it."""
    from .toy_slow import SLOW

    transformers = require("transformers")
    names = require("transformers.models.auto.tokenization_auto").TOKENIZER_MAPPING_NAMES
    kind_name = names.get(model_type) or names.get(getattr(_text(config), "model_type", "")) or "TokenizersBackend"
    kind = getattr(transformers, kind_name, None)
    tokenizer = None
    if kind_name in SLOW:
        tokenizer = SLOW[kind_name](kind, config, folder)
    elif kind is not None and getattr(kind, "model", None) is not None:
        tokenizer = _of_class(kind, config)
    if tokenizer is None or not _works(tokenizer):
        tokenizer = _plain(config)
    marks = marks_of(config.model_type)
    kept = set(tokenizer.all_special_tokens)
    places = [*_PADS.values(), *PLACEHOLDERS.values(), "<|vision_start|>", "<|vision_end|>"]
    known = tokenizer.get_vocab()
    places = [token for token in dict.fromkeys(places) if token in known]
    places += [token for token in (*marks.named.values(), *marks.others) if token not in places]
    if places := [token for token in places if token not in kept]:
        tokenizer.add_tokens(places, special_tokens=True)
    if lacking := {name: marks.named[name] for name in marks.read if getattr(tokenizer, name, None) is None}:
        # As a checkpoint's tokenizer_config.json tells them: its processor reads them as attributes.
        tokenizer._set_model_specific_special_tokens(lacking)
    tokenizer.model_max_length = min(int(_positions(config)), 10**6)
    if _chats(config):
        tokenizer.chat_template = _template(tokenizer, config)
    tokenizer.save_pretrained(str(folder))
    _name_class(folder, tokenizer, kind_name)
    return tokenizer


def special_tokens(config: Any, roles: dict[str, str]) -> dict[str, int]:
    """Every special token's number: those of ``roles`` and of the placeholders that the configuration names."""
    found: dict[str, int] = {}
    taken: set[int] = set()
    text = _text(config)
    # The end first: where it is the padding too, its own number counts, which models look for.
    for role, token in sorted(roles.items(), key=lambda each: each[0] != "eos"):
        number = getattr(text, f"{role}_token_id", None)
        if isinstance(number, list) and number:
            number = number[0]
        if isinstance(number, int) and 0 <= number < VOCABULARY and number not in taken and token not in found:
            found[token] = number
            taken.add(number)
    for each in (config, text):
        for name, value in sorted(vars(each).items()):
            match = _PLACED.fullmatch(name)
            if match is None or not isinstance(value, int) or match[1] in _ROLES or value in taken or value < 0:
                continue
            if value < VOCABULARY and (token := _placeholder(config, match[1])) not in found:
                found[token] = value
                taken.add(value)
    free = iter(number for number in range(REGULAR) if number not in taken)
    marks = marks_of(config.model_type)
    chat = ("<|im_start|>", "<|im_end|>") if _chats(config) else ()
    for token in [*roles.values(), *chat, *marks.named.values(), *marks.others]:
        if token not in found and (number := next(free, None)) is not None:
            found[token] = number
    return found


#: What processors call the places of what is no text; where a type's own differ they are in its processor's class.
PLACEHOLDERS = {"image": "<image>", "video": "<video>", "audio": "<audio>", "boi": "<boi>", "eoi": "<eoi>"}
#: Of the types with ``vision_start_token_id``, which are Qwen's and those made after them.
_PADS = {"image": "<|image_pad|>", "video": "<|video_pad|>"}


def _placeholder(config: Any, kind: str) -> str:
    marks = marks_of(config.model_type)
    if token := marks.named.get(marks.place if kind == "image" else f"{kind}_token"):
        return token
    own = _PADS if config.model_type.startswith("qwen") and hasattr(config, "vision_start_token_id") else {}
    return own.get(kind) or PLACEHOLDERS.get(kind, f"<|{kind}|>")


def _text(config: Any) -> Any:
    try:
        return config.get_text_config()
    except Exception:  # several text configurations: the type's own then
        return config


def _positions(config: Any) -> Any:
    text = _text(config)
    for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
        if isinstance(found := getattr(text, name, None), int) and found > 8:
            # roberta's positions begin after the padding token's
            return found - 2 if getattr(text, "pad_token_id", 0) == 1 else found
    return 512


def _chats(config: Any) -> bool:
    auto = require("transformers.models.auto.modeling_auto")
    named = (auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES)
    masked = auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if config.model_type == "canary":  # its processor writes what it asks by a template
        return True
    if config.model_type == "vision-encoder-decoder":  # it is shown a picture, and not talked to
        return False
    return any(config.model_type in each for each in named) and config.model_type not in masked


def _roles(kind: Any) -> dict[str, str]:
    """The class's own special tokens by role."""
    found = {}
    for role in _ROLES:
        parameter = inspect.signature(kind.__init__).parameters.get(f"{role}_token")
        if parameter is not None and isinstance(parameter.default, str):
            found[role] = parameter.default
    return found


def _of_class(kind: Any, config: Any) -> Any:
    model = kind.model.__name__
    roles = _roles(kind) or dict(_PLAIN)
    if model == "WordPiece":
        roles = {**_BERT, **roles}
        tokens = fill(special_tokens(config, roles), word_pieces())
        return kind(vocab={token: at for at, token in enumerate(tokens)})
    if model == "Unigram":
        roles.setdefault("unk", "<unk>")
        special = special_tokens(config, roles)
        tokens = fill(special, metaspace(byte_fallback=False)[0])
        vocabulary = [(token, 0.0 if at < REGULAR else -float(at) / 64) for at, token in enumerate(tokens)]
        given = {"extra_ids": 0} if "extra_ids" in inspect.signature(kind.__init__).parameters else {}
        return kind(
            vocab=vocabulary, **({"unk_id": special[roles["unk"]]} if "unk_id" in _names(kind) else {}), **given
        )
    for pieces, merges in (byte_level(), metaspace(), word_ends()):
        tokens = fill(special_tokens(config, roles), pieces)
        known = set(tokens)
        kept = [pair for pair in merges if "".join(pair) in known and pair[0] in known and pair[1] in known]
        if not {"vocab", "merges"} <= _names(kind):
            return None
        tokenizer = kind(vocab={token: at for at, token in enumerate(tokens)}, merges=kept)
        if kind.__name__ == "WhisperTokenizer":
            tokenizer.add_tokens(list(WHISPER), special_tokens=True)
        if _works(tokenizer):
            return tokenizer
    return None


def _names(kind: Any) -> set[str]:
    return set(inspect.signature(kind.__init__).parameters)


def _works(tokenizer: Any) -> bool:
    """Whether it tells words apart."""
    try:
        one = tokenizer("The cat sat", add_special_tokens=False)["input_ids"]
        two = tokenizer("a dog runs", add_special_tokens=False)["input_ids"]
    except Exception:
        return False
    unknown = getattr(tokenizer, "unk_token_id", None)
    return len(set(one)) > 2 and set(one) != set(two) and not {unknown} & {*one, *two}


def _plain(config: Any) -> Any:
    """Byte-level byte-pair encoding with the usual special tokens."""
    tokenizers, transformers = require("tokenizers"), require("transformers")
    pieces, merges = byte_level()
    masked = require("transformers.models.auto.modeling_auto").MODEL_FOR_MASKED_LM_MAPPING_NAMES
    roles = {**_PLAIN, "mask": "<mask>"} if config.model_type in masked else dict(_PLAIN)
    special = special_tokens(config, roles)
    tokens = fill(special, pieces)
    known = set(tokens)
    model = tokenizers.models.BPE(
        vocab={token: at for at, token in enumerate(tokens)},
        merges=[pair for pair in merges if "".join(pair) in known],
        unk_token=None,
    )
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(list(special))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, **{f"{role}_token": token for role, token in roles.items()}
    )


def _template(tokenizer: Any, config: Any) -> str:
    marks = marks_of(config.model_type)
    image = marks.named.get(marks.mark) or getattr(tokenizer, "image_token", None) or _placeholder(config, "image")
    if config.model_type == "hunyuan_vl":  # its processor wants them around, which its own template writes
        image = f"{marks.named['image_start_token']}{image}{marks.named['image_end_token']}"
    if config.model_type == "pp_chart2table":  # its template writes one for each feature, which its processor does not
        image = image * 4
    audio = marks.named.get("audio_token") or getattr(tokenizer, "audio_token", None) or PLACEHOLDERS["audio"]
    return CHAT_TEMPLATE.replace("IMAGE", repr(image)).replace("AUDIO", repr(audio))


def _name_class(folder: Path, tokenizer: Any, wanted: str) -> None:
    """Say in the files which class reads them."""
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = type(tokenizer).__name__
    path.write_text(json.dumps(settings, indent=1), encoding="utf-8")
