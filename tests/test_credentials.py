"""Credentials: which place wins, what is refused, and that a key's value shows nowhere."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import re
import subprocess
import sys
import traceback
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values, find_dotenv

from ipfs_accelerate_py.backends import backend_names, find_backend
from ipfs_accelerate_py.credentials import Credential, Credentials, Secret, make_secret, write_template
from ipfs_accelerate_py.errors import ConfigurationError

NAMES = ("openai_api_key",)
VARIABLES = ("OPENAI_API_KEY",)
CANARY = "sk-canary-5f1d"


def places(home: Path, metadata: dict[str, Any] | None = None, /, **variables: str) -> Credentials:
    """Credentials over ``home`` as home and ``home/work`` as working directory, with these variables."""
    work = home / "work"
    work.mkdir(exist_ok=True)
    return Credentials(metadata, environ=variables, cwd=work, home=home)


def write_file(home: Path, text: str, mode: int = 0o600) -> Path:
    path = home / ".ipfs_api_credentials"
    path.write_text(text)
    path.chmod(mode)
    return path


def found(credentials: Credentials, explicit: str | None = None) -> list[tuple[str, str]]:
    return [(key.name, key.secret.reveal()) for key in credentials.keys(explicit, NAMES, VARIABLES)]


# --- order --------------------------------------------------------------------------------------------------------


def test_each_place_gives_way_to_the_one_before_it(tmp_path: Path) -> None:
    file = write_file(tmp_path, "OPENAI_API_KEY=from-file\nURL=url-file\n")
    assert found(places(tmp_path)) == [("OPENAI_API_KEY", "from-file")]
    assert places(tmp_path).keys(None, NAMES, VARIABLES)[0].source == str(file)

    dotenv = tmp_path / "work" / ".env"
    dotenv.write_text("OPENAI_API_KEY=from-dotenv\nURL=url-dotenv\n")
    assert found(places(tmp_path)) == [("OPENAI_API_KEY", "from-dotenv")]
    assert places(tmp_path).keys(None, NAMES, VARIABLES)[0].source == str(dotenv)
    assert places(tmp_path).value(None, ("url",), ("URL",)) == "url-dotenv"

    in_environment = {"OPENAI_API_KEY": "from-environment", "URL": "url-environment"}
    assert found(places(tmp_path, **in_environment)) == [("OPENAI_API_KEY", "from-environment")]
    assert places(tmp_path, **in_environment).value(None, ("url",), ("URL",)) == "url-environment"

    metadata = {"openai_api_key": "from-metadata", "url": "url-metadata"}
    assert found(places(tmp_path, metadata, **in_environment)) == [("metadata", "from-metadata")]
    assert places(tmp_path, metadata, **in_environment).value(None, ("url",), ("URL",)) == "url-metadata"

    assert found(places(tmp_path, metadata, **in_environment), "mine") == [("explicit", "mine")]
    assert places(tmp_path, metadata, **in_environment).value("url-mine", ("url",), ("URL",)) == "url-mine"


def test_nothing_anywhere_is_an_empty_pool_and_no_value(tmp_path: Path) -> None:
    assert found(places(tmp_path)) == []
    assert places(tmp_path).value(None, ("url",), ("URL",)) is None
    assert found(Credentials(environ={}, dotenv_path=None, home=None)) == []


def test_keys_of_one_place_are_not_mixed_with_those_of_the_next(tmp_path: Path) -> None:
    write_file(tmp_path, "OPENAI_API_KEY=file\nOPENAI_API_KEY_2=file-2\n")
    assert found(places(tmp_path, OPENAI_API_KEY_1="environment")) == [("OPENAI_API_KEY_1", "environment")]


def test_numbered_keys_come_in_the_order_of_their_numbers_over_gaps(tmp_path: Path) -> None:
    variables = {f"OPENAI_API_KEY_{number}": f"key-{number}" for number in (10, 2, 1)}
    others = {"OPENAI_API_KEY_": "x", "OPENAI_API_KEY_X": "x", "OPENAI_API_KEY_01": "x", "MY_OPENAI_API_KEY_3": "x"}
    assert found(places(tmp_path, **variables, **others, OPENAI_API_KEY="main")) == [
        ("OPENAI_API_KEY", "main"),
        ("OPENAI_API_KEY_1", "key-1"),
        ("OPENAI_API_KEY_2", "key-2"),
        ("OPENAI_API_KEY_10", "key-10"),
    ]


def test_the_same_key_twice_is_one_key(tmp_path: Path) -> None:
    credentials = places(tmp_path, OPENAI_API_KEY="a", OPENAI_API_KEY_1=" a\n", OPENAI_API_KEY_2="b")
    assert found(credentials) == [("OPENAI_API_KEY", "a"), ("OPENAI_API_KEY_2", "b")]


def test_of_several_names_the_first_that_is_set_counts_and_an_earlier_place_beats_an_earlier_name(
    tmp_path: Path,
) -> None:
    write_file(tmp_path, "ANTHROPIC_API_KEY=file\n")
    names = ("ANTHROPIC_API_KEY", "CLAUDE_API_KEY")
    credentials = places(tmp_path, CLAUDE_API_KEY_1="old name")
    assert [key.name for key in credentials.keys(None, (), names)] == ["CLAUDE_API_KEY_1"]
    credentials = places(tmp_path, CLAUDE_API_KEY="old name", ANTHROPIC_API_KEY_3="new name")
    assert [key.name for key in credentials.keys(None, (), names)] == ["ANTHROPIC_API_KEY_3"]
    credentials = places(tmp_path, {"second": "b", "third": "c"})
    assert [key.secret.reveal() for key in credentials.keys(None, ("first", "second", "third"), ())] == ["b"]


@pytest.mark.parametrize("empty", ["", " ", "\n", None, [], ["", None], Secret("")])
def test_what_is_empty_counts_as_absent(tmp_path: Path, empty: Any) -> None:
    write_file(tmp_path, "OPENAI_API_KEY=\nOPENAI_API_KEY_1=' '\nOPENAI_API_KEY_2=found\nURL=found\n")
    credentials = places(tmp_path, {"openai_api_key": empty}, OPENAI_API_KEY="", OPENAI_API_KEY_1="  ", URL="")
    assert found(credentials, "") == [("OPENAI_API_KEY_2", "found")]
    assert credentials.value("", (), ("URL",)) == "found"


def test_metadata_takes_strings_secrets_and_lists_of_them(tmp_path: Path) -> None:
    assert found(places(tmp_path, {"openai_api_key": Secret("a\n")})) == [("metadata", "a")]
    several = places(tmp_path, {"openai_api_key": ["a", Secret("b"), "a", None, "c"]})
    assert found(several) == [("metadata_1", "a"), ("metadata_2", "b"), ("metadata_5", "c")]
    assert places(tmp_path, {"version": 2}).value(None, ("version",), ()) == "2"


def test_a_list_where_one_value_is_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="metadata 'url' must be a string, not list"):
        places(tmp_path, {"url": ["a"]}).value(None, ("url",), ())
    with pytest.raises(ConfigurationError, match="metadata 'openai_api_key' must be a string, not dict"):
        found(places(tmp_path, {"openai_api_key": {"key": "a"}}))


# --- what a key may be ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("around", [" {}", "{}\n", "\t{}\r\n", "\u00a0{}"])
def test_white_space_around_a_key_is_stripped(tmp_path: Path, around: str) -> None:
    assert found(places(tmp_path, OPENAI_API_KEY=around.format("sk-1"))) == [("OPENAI_API_KEY", "sk-1")]


@pytest.mark.parametrize("bad", ["\n", "\r\nX-Evil: 1", "\0", "\x7f", "\x85", "\u200b", "\ufeff", "\ud800", "…"])
def test_a_key_no_header_can_carry_is_refused_by_name_and_not_shown(tmp_path: Path, bad: str) -> None:
    value = f"{CANARY}{bad}{CANARY}"
    for credentials, explicit, where in (
        (places(tmp_path, OPENAI_API_KEY_2=value), None, r"OPENAI_API_KEY_2 \(from environment\)"),
        (places(tmp_path, {"openai_api_key": value}), None, "metadata 'openai_api_key'"),
        (places(tmp_path), value, "the key passed as an argument"),
    ):
        with pytest.raises(ConfigurationError, match=where) as caught:
            found(credentials, explicit)
        assert CANARY not in "".join(traceback.format_exception(caught.value))
        assert "canary" not in str(caught.value) + repr(caught.value)


def test_an_address_with_a_line_break_is_refused_and_one_beyond_latin_1_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"URL \(from environment\) holds a line break"):
        places(tmp_path, URL="http://a\r\nb").value(None, (), ("URL",))
    assert places(tmp_path, URL="http://bücher-\u4e66").value(None, (), ("URL",)) == "http://bücher-\u4e66"


def test_latin_1_is_allowed() -> None:
    assert make_secret(" clé ", "here").reveal() == "clé"


# --- the files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o602, 0o777])
def test_a_credentials_file_that_others_can_reach_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = write_file(tmp_path, f"OPENAI_API_KEY={CANARY}\nURL=u\n", mode)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {path}") as caught:
        found(places(tmp_path))
    assert CANARY not in str(caught.value)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        places(tmp_path).value(None, (), ("URL",))
    # It is read last, so it troubles nobody who has the key elsewhere.
    assert found(places(tmp_path, OPENAI_API_KEY="elsewhere")) == [("OPENAI_API_KEY", "elsewhere")]
    path.chmod(0o400)
    assert found(places(tmp_path)) == [("OPENAI_API_KEY", CANARY)]


def test_a_file_opened_up_after_it_was_read_is_refused_from_then_on(tmp_path: Path) -> None:
    path = write_file(tmp_path, "OPENAI_API_KEY=a\n")
    credentials = places(tmp_path)
    assert found(credentials) == [("OPENAI_API_KEY", "a")]
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        found(credentials)


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[None] = []

    def counting(**arguments: Any) -> dict[str, str | None]:
        parsed.append(None)
        return dotenv_values(**arguments)

    monkeypatch.setattr("dotenv.dotenv_values", counting)
    path = write_file(tmp_path, "OPENAI_API_KEY=first\n")
    credentials = places(tmp_path)
    for _ in range(3):
        assert found(credentials) == [("OPENAI_API_KEY", "first")]
    assert len(parsed) == 1
    path.write_text("OPENAI_API_KEY=other\n")
    os.utime(path, ns=(1, 1))
    assert found(credentials) == [("OPENAI_API_KEY", "other")]
    path.unlink()
    assert found(credentials) == []


def test_files_are_read_as_dotenv_files_and_a_dollar_is_a_dollar(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / ".env").write_bytes(
        b"\xef\xbb\xbfOPENAI_API_KEY=first # comment\r\n"
        b"export OPENAI_API_KEY_1='quo ted'\n"
        b'OPENAI_API_KEY_2="a$b${HOME}"\n'
        b"OPENAI_API_KEY_3=$HOME\n"
        b"OPENAI_API_KEY_4\n"
        b"# OPENAI_API_KEY_5=no\n"
    )
    assert [value for _, value in found(places(tmp_path, HOME="/h"))] == ["first", "quo ted", "a$b${HOME}", "$HOME"]


def test_bytes_that_are_no_utf_8_blame_their_own_variable_alone(tmp_path: Path) -> None:
    path = tmp_path / ".ipfs_api_credentials"
    path.write_bytes(b"OPENAI_API_KEY=" + CANARY.encode() + b"\xff\nOTHER_KEY=good\n")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=r"OPENAI_API_KEY \(from .*\) holds characters") as caught:
        found(places(tmp_path))
    assert CANARY not in str(caught.value)
    assert [key.secret.reveal() for key in places(tmp_path).keys(None, (), ("OTHER_KEY",))] == ["good"]


def test_what_is_no_file_of_variables_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ".ipfs_api_credentials"
    os.mkfifo(path, 0o600)
    with pytest.raises(ConfigurationError, match="not a regular file"):
        found(places(tmp_path))
    path.unlink()
    write_file(tmp_path, "#" * (1 << 20) + "\n")
    with pytest.raises(ConfigurationError, match="larger than 1048576 bytes"):
        found(places(tmp_path))
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(ConfigurationError, match="cannot be read: Too many levels"):
        found(places(tmp_path))
    (tmp_path / "file").touch()
    assert found(Credentials(environ={}, dotenv_path=None, home=tmp_path / "file")) == []


def test_a_given_dotenv_path_is_read_instead_of_the_search(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / ".env").write_text("OPENAI_API_KEY=searched\n")
    (tmp_path / "given.env").write_text("OPENAI_API_KEY=given\n")
    credentials = Credentials(environ={}, cwd=tmp_path / "work", home=None, dotenv_path=tmp_path / "given.env")
    assert found(credentials) == [("OPENAI_API_KEY", "given")]
    assert found(Credentials(environ={}, cwd=tmp_path / "work", home=None, dotenv_path=None)) == []


def test_the_nearest_dotenv_upwards_is_the_one_python_dotenv_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    (tmp_path / ".env").write_text("OPENAI_API_KEY=outer\n")
    (inner / ".env").mkdir()  # a virtual environment of that name is no file of variables
    monkeypatch.chdir(inner)
    for expected in ("outer", "middle"):
        [key] = Credentials(environ={}, home=None).keys(None, NAMES, VARIABLES)
        assert key.secret.reveal() == expected
        assert key.source == find_dotenv(usecwd=True)
        (tmp_path / "a" / ".env").write_text("OPENAI_API_KEY=middle\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_above_the_working_directory_another_users_dotenv_is_passed_over(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    planted = tmp_path / ".env"
    planted.write_text("OPENAI_API_KEY=planted\n")
    assert found(Credentials(environ={}, cwd=work, home=None)) == [("OPENAI_API_KEY", "planted")]
    os.chown(planted, 12345, -1)
    assert found(Credentials(environ={}, cwd=work, home=None)) == []
    assert found(Credentials(environ={}, cwd=tmp_path, home=None)) == [("OPENAI_API_KEY", "planted")]


def test_a_deleted_working_directory_has_no_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert found(Credentials(environ={}, home=None)) == []


def test_by_default_the_process_environment_and_the_users_home_are_read_and_left_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    write_file(tmp_path, f"OPENAI_API_KEY={CANARY}\n")
    (tmp_path / ".env").write_text("OTHER=1\n")
    before = dict(os.environ)
    credentials = Credentials()
    with caplog.at_level(logging.DEBUG):
        assert found(credentials) == [("OPENAI_API_KEY", CANARY)]
    assert dict(os.environ) == before
    assert CANARY not in caplog.text
    monkeypatch.setenv("OPENAI_API_KEY", "now set")
    assert found(credentials) == [("OPENAI_API_KEY", "now set")]


# --- the template --------------------------------------------------------------------------------------------------


def test_the_template_is_private_sets_nothing_and_is_never_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    before = os.umask(0)
    try:
        path = Path(write_template())
    finally:
        os.umask(before)
    assert path == tmp_path / ".ipfs_api_credentials"
    assert path.stat().st_mode & 0o777 == 0o600
    assert dotenv_values(path) == {}
    assert "OPENAI_API_KEY" in path.read_text()
    path.write_text("OPENAI_API_KEY=kept\n")
    with pytest.raises(ConfigurationError, match="exists already"):
        write_template()
    assert found(places(tmp_path)) == [("OPENAI_API_KEY", "kept")]
    with pytest.raises(ConfigurationError, match="cannot be written: No such file"):
        write_template(tmp_path / "missing" / "file")


def test_every_name_in_the_template_works_once_its_comment_sign_is_gone(tmp_path: Path) -> None:
    path = Path(write_template(tmp_path / "copy"))
    lines = [line[1:] for line in path.read_text().splitlines() if line.startswith("#") and line[1:2].isupper()]
    write_file(tmp_path, "".join(f"{line.partition('=')[0]}=v{number}\n" for number, line in enumerate(lines)))
    assert len(found(places(tmp_path))) == 3
    assert places(tmp_path).value(None, (), ("LLVM_API_ENDPOINT",))


def test_the_template_has_every_service_and_nothing_that_none_reads() -> None:
    text = resources.files("ipfs_accelerate_py").joinpath("credentials.template").read_text(encoding="utf-8")
    named = {re.sub(r"_\d+$", "", name) for name in re.findall(r"^#([A-Z]\w+)=", text, re.MULTILINE)}
    read: set[str] = set()
    for spec in map(find_backend, backend_names()):
        options = {name for option in spec.options for name in option.env}
        its_own = {*spec.key_env, *spec.url_env, *options}
        assert spec.in_process or its_own & named, spec.name
        read |= its_own
    assert named <= read


# --- a secret stays one --------------------------------------------------------------------------------------------


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret(CANARY)
    credential = Credential("OPENAI_API_KEY", secret, "environment")
    for shown in (repr(secret), str(secret), f"{secret}", f"{credential}", repr([secret]), repr({1: secret})):
        assert CANARY not in shown
    assert secret.reveal() == CANARY
    assert not hasattr(secret, "__dict__")


def test_a_secret_is_not_pickled_and_copies_are_itself() -> None:
    secret = Secret(CANARY)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(Credential("name", secret, "source"), protocol)
    assert copy.copy(secret) is secret
    assert copy.deepcopy({"a": secret})["a"] is secret


def test_secrets_compare_by_value_and_with_nothing_else() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("é\ud800") == Secret("é\ud800")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_importing_and_reading_the_environment_alone_loads_no_dotenv() -> None:
    code = (
        "import sys; from ipfs_accelerate_py.credentials import Credentials\n"
        "Credentials(environ={'A': 'x'}).keys(None, (), ('A',))\n"
        "print([name for name in ('dotenv', 'hmac', 'importlib.resources') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
