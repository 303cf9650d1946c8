"""Forms with files: written so that others read them, and read strictly."""

from __future__ import annotations

import io

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.dialects.forms import Part, boundary_of, decode_form, encode_form
from ipfs_accelerate_py.errors import InvalidRequest

ODD = 'a"b\r\nc é世界.wav'


def whole(*parts: Part) -> list[Part]:
    return decode_form(*encode_form(parts))


@given(
    st.lists(
        st.builds(
            Part,
            st.text(st.characters(exclude_characters="%\\", codec="utf-8"), min_size=1),
            st.binary(),
            st.none() | st.text(st.characters(exclude_characters="%\\", codec="utf-8")),
        ),
        max_size=5,
    )
)
def test_what_is_written_is_read_back(parts: list[Part]) -> None:
    for part in parts:
        if part.filename is not None:
            part.content_type = "application/octet-stream"
    assert whole(*parts) == parts


def test_another_server_reads_what_is_written() -> None:
    parsing = pytest.importorskip("werkzeug.formparser")
    sound = bytes(range(256)) * 50 + b"\r\n--form-"
    parts = [Part("model", b"whisper-1"), Part("x[]", b"a"), Part("x[]", b"b"), Part("f", sound, "é.wav", "audio/wav")]
    body, kind = encode_form(parts)
    environ = {"wsgi.input": io.BytesIO(body), "CONTENT_TYPE": kind, "CONTENT_LENGTH": str(len(body))}
    parser = parsing.FormDataParser(stream_factory=lambda **_: io.BytesIO(), silent=False)
    _, fields, files = parser.parse_from_environ({"REQUEST_METHOD": "POST", **environ})
    assert (fields["model"], fields.getlist("x[]")) == ("whisper-1", ["a", "b"])
    file = files["f"]
    assert (file.filename, file.content_type, file.read()) == ("é.wav", "audio/wav", sound)


def test_what_another_client_writes_is_read() -> None:
    sound = b"\r\n\r\n--\x00\xff" * 30
    request = httpx.Request(
        "POST", "http://h/", data={"model": "w", "x[]": ["a", "b"]}, files={"file": (ODD, sound, "audio/wav")}
    )
    parts = decode_form(request.read(), request.headers["content-type"])
    assert [(part.name, part.text) for part in parts[:-1]] == [("model", "w"), ("x[]", "a"), ("x[]", "b")]
    assert (parts[-1].filename, parts[-1].content_type, parts[-1].data) == (ODD, "audio/wav", sound)


def test_the_file_name_of_libraries_that_write_it_in_the_other_way() -> None:
    body = (
        b"--b\r\nContent-Disposition: form-data; name=file; filename*=UTF-8''%C3%A9.wav\r\n"
        b"Content-Transfer-Encoding: binary\r\n\r\nx\r\n--b--\r\n"
    )
    assert decode_form(body, 'multipart/form-data; charset=utf-8; boundary="b"') == [Part("file", b"x", "é.wav")]


def test_no_header_can_be_smuggled_in_through_a_name() -> None:
    body, _ = encode_form([Part('a"\r\nX-Bad: 1', b"", "f\r\n\r\nbody", "text/plain\r\nX-Bad: 2")])
    assert b"X-Bad" not in body.replace(b"%0D%0AX-Bad", b"")
    assert b"application/octet-stream" in body


HEAD = b'Content-Disposition: form-data; name="a"\r\n\r\n'
BROKEN = {
    "nothing": b"",
    "no boundary": b"hello",
    "a cut part": b"--b\r\n" + HEAD + b"x",
    "a cut head": b"--b\r\nContent-Disp",
    "no end": b"--b\r\n" + HEAD + b"x\r\n--b\r\n",
    "more after the end": b"--b--\r\nmore",
    "a longer boundary": b"--bc\r\n" + HEAD + b"x\r\n--bc--\r\n",
    "no headers": b"--b\r\n\r\nx\r\n--b--\r\n",
    "no name": b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
    "no disposition": b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n",
    "another disposition": b'--b\r\nContent-Disposition: attachment; name="a"\r\n\r\nx\r\n--b--\r\n',
    "an encoding": b"--b\r\nContent-Transfer-Encoding: base64\r\n" + HEAD + b"x\r\n--b--\r\n",
    "no header at all": b"--b\r\nhello\r\n" + HEAD + b"x\r\n--b--\r\n",
    "an endless head": b"--b\r\nX: " + b"x" * 10_000 + b"\r\n" + HEAD + b"x\r\n--b--\r\n",
    "too many parts": b"--b\r\n" + (HEAD + b"\r\n--b\r\n") * 300 + HEAD + b"\r\n--b--\r\n",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="the form") as caught:
        decode_form(body, "multipart/form-data; boundary=b")
    assert (caught.value.status, caught.value.code) == (400, "invalid_form")


@pytest.mark.parametrize(
    "kind",
    ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=b"],
)
def test_what_is_not_said_to_be_a_form_is_refused(kind: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        boundary_of(kind)
    assert caught.value.param == "content-type"


@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_form_cut_anywhere_is_refused_and_never_shortened(data: bytes, cut: int) -> None:
    body, kind = encode_form([Part("file", data, "f")])
    cut = min(cut + 1, len(body))
    if not body[-cut:].strip(b"\r\n"):
        return  # the end of the last line is nobody's content
    with pytest.raises(InvalidRequest):
        decode_form(body[:-cut], kind)


def test_a_field_that_is_no_text_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest) as caught:
        print(Part("prompt", b"\xff").text)
    assert caught.value.param == "prompt"
