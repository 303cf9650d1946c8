"""Pictures and videos in all forms that callers give them in, and what is refused."""

from __future__ import annotations

import base64
import io
import sys
from typing import Any

import pytest

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

from ipfs_accelerate_py.errors import InvalidRequest, MissingExtra  # noqa: E402
from ipfs_accelerate_py.runtimes.processing import pictures  # noqa: E402
from ipfs_accelerate_py.runtimes.processing.pictures import picture  # noqa: E402
from ipfs_accelerate_py.runtimes.processing.videos import frames  # noqa: E402


def gradient(width: int = 6, height: int = 4) -> Any:
    values = np.arange(width * height * 3, dtype="uint8").reshape(height, width, 3)
    return Image.fromarray(values)


def saved(image: Any, kind: str = "PNG", **named: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind, **named)
    return file.getvalue()


def pixels(image: Any) -> Any:
    assert image.mode == "RGB"
    return np.asarray(image)


def test_a_picture_is_the_same_in_every_form(tmp_path: Any) -> None:
    image = gradient()
    file = saved(image)
    (tmp_path / "a.png").write_bytes(file)
    text = base64.b64encode(file).decode()
    forms = [
        image, file, bytearray(file), memoryview(file), text, f"data:image/png;base64,{text}", tmp_path / "a.png",
        np.asarray(image), np.asarray(image).transpose(2, 0, 1), np.asarray(image).tolist(), np.asarray(image) / 255.0,
        {"image": file}, {"url": f"data:image/png;base64,{text}"}, {"image_url": {"url": text}},
        saved(image, "WEBP", lossless=True), saved(image, "BMP"), saved(image, "TIFF"), text[:20] + "\n" + text[20:],
    ]  # fmt: skip
    for form in forms:
        assert (pixels(picture(form)) == np.asarray(image)).all(), type(form)


def test_jpeg_and_the_first_frame_of_a_gif_are_read() -> None:
    assert picture(saved(gradient(), "JPEG")).size == (6, 4)
    red, blue = Image.new("RGB", (5, 3), (255, 0, 0)), Image.new("RGB", (5, 3), (0, 0, 255))
    assert pixels(picture(saved(red, "GIF", save_all=True, append_images=[blue])))[0, 0].tolist() == [255, 0, 0]


def test_a_photo_held_sideways_is_turned_upright() -> None:
    image = gradient()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    upright = picture(saved(image, "PNG", exif=exif))
    assert upright.size == (4, 6)
    assert (pixels(upright) == np.rot90(np.asarray(image), -1)).all()


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK", "LA"])
def test_every_mode_of_colour_becomes_rgb(mode: str) -> None:
    assert picture(gradient().convert(mode)).mode == "RGB"


def test_sixteen_bit_grey_keeps_its_range() -> None:
    deep = Image.fromarray(np.array([[0, 65535], [32768, 257]], dtype="uint16"))
    assert pixels(picture(saved(deep)))[:, :, 0].tolist() == [[0, 255], [127, 1]]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("http://example.com/a.png", "address"),
        ("HTTPS://example.com/a.png", "address"),
        ("file:///etc/passwd", "address"),
        ("/etc/passwd", "no base64|no image"),
        ("../../secret.png", "no base64"),
        ("data:image/png,abc", "base64"),
        (b"not an image", "known format"),
        (b"", "known format"),
        (3.5, "float"),
        ({"text": "hi"}, "no image"),
        ([[[300, 0, 0]]], "outside 0 to 255"),
        ([[[-1, 0, 0]]], "outside"),
        ([[["x"]]], "numbers"),
        ([[1, 2], [3]], "numbers"),
        ([1, 2, 3], "shape"),
        (np.full((2, 2, 3), np.nan), "outside 0 to 1"),
        (np.zeros((0, 4, 3)), "shape"),
    ],
)
def test_what_is_no_picture_is_refused_and_said_why(given: Any, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        picture(given)
    assert caught.value.status == 400
    assert caught.value.param == "input"


def test_a_cut_off_file_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="damaged"):
        picture(saved(Image.effect_noise((64, 64), 90))[:900])


def test_a_small_file_that_claims_to_be_huge_is_refused_before_it_is_decoded() -> None:
    bomb = saved(Image.new("1", (9_000, 8_000)))
    assert len(bomb) < 200_000
    with pytest.raises(InvalidRequest, match="pixels"):
        picture(bomb)


def test_limits_hold_for_arrays_and_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 10)
    for form in (gradient(), np.asarray(gradient()), saved(gradient())):
        with pytest.raises(InvalidRequest, match="pixels"):
            picture(form)
    monkeypatch.setattr(pictures, "MAX_BYTES", 10)
    for form in (saved(gradient()), base64.b64encode(saved(gradient())).decode()):
        with pytest.raises(InvalidRequest, match="10"):
            picture(form)


def test_a_file_of_another_kind_never_reaches_its_decoder() -> None:
    with pytest.raises(InvalidRequest, match="known format"):
        picture(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EOF\n")


def clip(count: int) -> list[Any]:
    return [Image.new("RGB", (8, 6), (at * 10, 255 - at * 10, 40)) for at in range(count)]


def seen(images: list[Any]) -> list[int]:
    return [round(int(np.asarray(each)[0, 0, 0]) / 10) for each in images]


def test_frames_are_spread_over_the_video_or_taken_by_steps() -> None:
    video = clip(9)
    assert seen(frames(video, 3)) == [0, 4, 8]
    assert seen(frames(video, 3, step=2)) == [0, 2, 4]
    assert seen(frames(video[:2], 4)) == [0, 0, 0, 1]
    assert seen(frames(np.stack([np.asarray(each) for each in video]), 3)) == [0, 4, 8]
    assert seen(frames({"video": [saved(each) for each in video]}, 3)) == [0, 4, 8]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_are_videos(kind: str) -> None:
    first, *rest = clip(9)
    file = saved(
        first, kind, save_all=True, append_images=rest, duration=50, **({"lossless": True} if kind == "WEBP" else {})
    )
    assert seen(frames(file, 3)) == [0, 4, 8]
    assert seen(frames(base64.b64encode(file).decode(), 9)) == list(range(9))


def test_a_container_needs_av_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"ipfs-accelerate-py\[video\]"):
        frames(b"\x00\x00\x00\x18ftypmp42" + bytes(64), 4)


@pytest.mark.parametrize("given", [[], 5, {"text": "x"}, "http://example.com/a.mp4", [b"x"]])
def test_what_is_no_video_is_refused(given: Any) -> None:
    with pytest.raises(InvalidRequest):
        frames(given, 4)


def test_frames_of_different_sizes_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="different sizes"):
        frames([gradient(6, 4), gradient(4, 6)], 2)
