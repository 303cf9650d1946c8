"""Small tokenizers of the classes that are no `tokenizers` library's: characters, and SentencePiece."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.runtimes.extras import require

from .toy_vocabulary import SENTENCES, word_pieces

__all__ = ["SLOW"]


def _characters(kind: Any, config: Any, folder: Path) -> Any:
    """CTC: letters, the apostrophe, ``|`` between words, the blank as padding at the number that the model has."""
    path = folder / "vocab.json"
    tokens = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
    path.write_text(json.dumps({token: at for at, token in enumerate(tokens)}), encoding="utf-8")
    return kind(str(path))


def _vits(kind: Any, config: Any, folder: Path) -> Any:
    path = folder / "vocab.json"
    tokens = ["<pad>", *"abcdefghijklmnopqrstuvwxyz '-.,?!0123456789", "<unk>"]
    path.write_text(json.dumps({token: at for at, token in enumerate(tokens)}), encoding="utf-8")
    return kind(str(path), is_uroman=False, normalize=True, phonemize=False, add_blank=True)


def _tables(kind: Any, config: Any, folder: Path) -> Any:
    """TAPAS: WordPiece of texts and tables, with its own tokens for empty cells."""
    path = folder / "vocab.txt"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EMPTY]", *dict.fromkeys(word_pieces())]
    path.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return kind(str(path))


def _bare(kind: Any, config: Any, folder: Path) -> Any:
    """Of characters or bytes, without a vocabulary."""
    return kind()


def sentence_pieces(path: Path, size: int = 120, **ids: int) -> Path:
    """A SentencePiece model of that many pieces, learned from our sentences."""
    trainer = require("sentencepiece").SentencePieceTrainer
    written = io.BytesIO()
    trainer.train(
        sentence_iterator=iter([*SENTENCES, "".join(chr(code) + " " for code in range(33, 127))]),
        model_writer=written,
        vocab_size=size,
        model_type="unigram",
        character_coverage=1.0,
        hard_vocab_limit=False,
        minloglevel=9,
        **{"pad_id": 1, "bos_id": 0, "eos_id": 2, "unk_id": 3, **ids},
    )
    path.write_bytes(written.getvalue())
    return path


def _spm(kind: Any, config: Any, folder: Path) -> Any:
    return kind(str(sentence_pieces(folder / "spiece.model")))


def _speecht5(kind: Any, config: Any, folder: Path) -> Any:
    return kind(str(sentence_pieces(folder / "spm_char.model")))


def _with_vocabulary(kind: Any, config: Any, folder: Path) -> Any:
    """SentencePiece, and a mapping from its pieces to numbers beside it."""
    model = sentence_pieces(folder / "sentencepiece.bpe.model")
    pieces = require("sentencepiece").SentencePieceProcessor(model_file=str(model))
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    listed = [pieces.id_to_piece(at) for at in range(pieces.get_piece_size())]
    tokens = [*special, *(each for each in listed if each not in special)]
    path = folder / "vocab.json"
    path.write_text(json.dumps({token: at for at, token in enumerate(tokens)}), encoding="utf-8")
    return kind(str(path), str(model))


def _marian(kind: Any, config: Any, folder: Path) -> Any:
    model = sentence_pieces(folder / "source.spm")
    (folder / "target.spm").write_bytes(model.read_bytes())
    pieces = require("sentencepiece").SentencePieceProcessor(model_file=str(model))
    listed = [pieces.id_to_piece(at) for at in range(pieces.get_piece_size())]
    tokens = ["</s>", "<unk>", *(each for each in listed if each not in ("</s>", "<unk>", "<pad>", "<s>"))]
    numbers = {token: at for at, token in enumerate(tokens)}
    numbers["<pad>"] = len(numbers)
    path = folder / "vocab.json"
    path.write_text(json.dumps(numbers), encoding="utf-8")
    return kind(str(model), str(folder / "target.spm"), str(path), source_lang="en", target_lang="de")


#: By class.
SLOW: Mapping[str, Callable[[Any, Any, Path], Any]] = {
    "Wav2Vec2CTCTokenizer": _characters,
    "VitsTokenizer": _vits,
    "TapasTokenizer": _tables,
    "CanineTokenizer": _bare,
    "PerceiverTokenizer": _bare,
    "ByT5Tokenizer": _bare,
    "SpeechT5Tokenizer": _speecht5,
    "SiglipTokenizer": _spm,
    "BertGenerationTokenizer": _spm,
    "M2M100Tokenizer": _with_vocabulary,
    "Speech2TextTokenizer": _with_vocabulary,
    "MarianTokenizer": _marian,
}
