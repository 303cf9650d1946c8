"""Tasks that Transformers' tables give to types that do them in a way of their own, or do something else."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["UNSERVED"]

_SPEECH = "automatic-speech-recognition"
_STEP = "it hears and writes in step, frame by frame, which its own generate alone does"
_TALK = "its speech is that of a conversation, which chat serves as text alone here"
_FILMS = "it reads films of four frames, which Transformers has a processor for with torchvision alone"
_VOICE = "it speaks in a voice that it has to be given, and by the network of another checkpoint"
_JUDGE = "it judges a picture by policies that its own processor writes out"
_BLOCKS = "it writes blocks of text by diffusion, which its own generate alone does"
_WRITING = ("text-generation", "text2text-generation", "summarization", "translation")

#: By task and type, why the type is not asked it.
UNSERVED: Mapping[tuple[str, str], str] = {
    (_SPEECH, "dia"): "it speaks: its tokens are of sound",
    (_SPEECH, "pop2piano"): "it writes notes, not words",
    (_SPEECH, "vibevoice"): "it speaks: its answer is sound",
    **{(task, each): _STEP for task in (_SPEECH, *_WRITING) for each in ("kyutai_speech_to_text", "voxtral_realtime")},
    ("text-to-audio", "qwen2_5_omni"): _TALK,
    ("text-to-audio", "qwen3_omni_moe"): _TALK,
    ("text-to-audio", "higgs_audio_v2"): "it writes codes of sound, which the network of another checkpoint decodes",
    **{("text-to-audio", each): _VOICE for each in ("gradium_phonon_tts", "pocket_tts")},
    **{(task, "instructblipvideo"): _FILMS for task in ("image-text-to-text", "image-to-text", "text-generation")},
    ("zero-shot-image-classification", "videoprism"): "it reads films: its task is video-classification",
    ("image-segmentation", "videomt"): "it reads films, and marks the same things in all frames of one",
    ("mask-generation", "sam3_video"): "it follows things through a film, in a session of its own",
    ("question-answering", "lxmert"): "it takes features of an image's regions beside the text, made by another",
    **{(task, "shieldgemma2"): _JUDGE for task in ("image-classification", "image-text-to-text", "image-to-text")},
    **{(task, "diffusion_gemma"): _BLOCKS for task in ("image-text-to-text", "image-to-text", *_WRITING)},
    ("text-generation", "pi0"): "it writes a robot's movements, not words",
}
