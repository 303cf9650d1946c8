"""What the pages in docs/ show in Python runs as it is written; only addresses, keys and files come from elsewhere."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from ipfs_accelerate_py import Client, api_backends
from ipfs_accelerate_py import ipfs_accelerate_py as main_class
from ipfs_accelerate_py.api_backends.base import ApiBackend
from ipfs_accelerate_py.backends import spec
from ipfs_accelerate_py.gateway import GatewayConfig, RunningGateway, routes
from ipfs_accelerate_py.simulator import SimulatorThread
from ipfs_accelerate_py.verbs import AsyncVerbs
from tests.conftest import ROOT
from tests.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, store

PAGES = (
    "docs/library.md",
    "docs/routing.md",
    "docs/streams.md",
    "docs/sharing.md",
    "docs/limits.md",
    "docs/costs.md",
    "docs/older-api.md",
    *sorted(f"docs/backends/{path.name}" for path in ROOT.glob("docs/backends/*.md")),
)
#: Where each service is, by variable.
PLACES = {
    "OPENAI_BASE_URL": "openai",
    "GROQ_BASE_URL": "openai",
    "LLVM_API_ENDPOINT": "openai",
    "ANTHROPIC_BASE_URL": "anthropic",
    "GOOGLE_BASE_URL": "gemini",
    "OLLAMA_API_URL": "ollama",
    "TGI_URL": "tgi",
    "TEI_URL": "tei",
    "OVMS_API_URL": "ovms",
    "OPEA_API_ENDPOINT": "opea",
}
#: Addresses that stand in the pages, by page where it matters.
ADDRESSES = {
    "http://localhost:8000": {"library.md": "ovms", "ovms.md": "ovms", "": "openai"},
    "http://localhost:8080": {"hf_tei.md": "tei", "": "tgi"},
    "http://localhost:8888": {"": "opea"},
    "http://10.0.0.5:11434": {"": "ollama"},
    "https://api.acme.example/v1": {"": "openai"},
}
RECORDING = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(28)
#: What a page takes for granted.
GIVEN: dict[str, dict[str, Any]] = {
    "older-api.md": {"asyncio": asyncio, "questions": ["One?", "Two?"]},
    "groq.md": {"data": RECORDING},
    "llvm.md": {"data": RECORDING},
    "claude.md": {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Use the tool."}]},
}
#: Blocks that leave something out.
OMITTED = re.compile(r"[\[{(]\.\.\.[\]})]|Part\(")
TOOL = {"type": "function", "function": {"name": "tool", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def simulators() -> Iterator[dict[str, SimulatorThread]]:
    running = {name: SimulatorThread(name).start() for name in sorted(set(PLACES.values()))}
    yield running
    for simulator in running.values():
        simulator.stop()


@pytest.mark.parametrize("page", PAGES)
async def test_what_a_page_shows_runs(
    simulators: dict[str, SimulatorThread], page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = Path(page).name
    prepare(simulators, tmp_path, monkeypatch)
    monkeypatch.setattr(spec, "_specs", dict(spec._specs))  # a page adds a service of its own
    shared: dict[str, Any] = {"tools": [TOOL], **GIVEN.get(name, {})}
    made: list[Any] = []
    with contextlib.ExitStack() as stack:
        store_url = ""
        if name == "s3_kit.md":
            (tmp_path / "moto").mkdir()
            peer = stack.enter_context(store(tmp_path / "moto"))
            peer.empty()
            store_url = peer.url
        blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)
        for number, block in enumerate(blocks):
            if OMITTED.search(block):
                continue
            code = compile(
                placed(block, name, simulators, store_url), f"{page}#{number}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            )
            space = dict(shared)
            try:
                running = eval(code, space)
                if inspect.iscoroutine(running):
                    await running
            finally:
                made += [value for value in space.values() if isinstance(value, Client | ApiBackend | main_class)]
            shared = shared if number else space  # what the first block makes is there for all of them
        for each in made:
            await asyncio.to_thread(each.close)


async def test_a_service_of_ones_own_is_a_row_and_no_code(
    simulators: dict[str, SimulatorThread], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(simulators, tmp_path, monkeypatch)
    monkeypatch.setattr(spec, "_specs", dict(spec._specs))
    page = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    [block] = [each for each in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S) if "register_backend(" in each]
    exec(placed(block, "library.md", simulators, ""), {})
    simulator = simulators["openai"]
    last = simulator.requests[-1]
    assert (last.status, last.key, last.body["model"]) == (200, simulator.key_name("acme-1"), "acme-1")
    # The gateway of the same program has it, and its key, without another word.
    config = GatewayConfig(environment=True, local=False, port=0)
    async with RunningGateway(config) as gateway, openai.AsyncOpenAI(base_url=gateway.url, api_key="any") as client:
        messages: Any = [{"role": "user", "content": "Hello"}]
        answer = await client.chat.completions.create(model="acme/acme-1", messages=messages)
    assert answer.choices[0].message.content
    assert simulator.requests[-1].key == simulator.key_name("acme-1")


# --- nothing is left out -----------------------------------------------------------------------------------------


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_the_library_s_page_has_every_verb_and_every_backend() -> None:
    text = page("library.md")
    verbs = {name for name in vars(AsyncVerbs) if not name.startswith("_")} - {"send"}
    assert {name for name in verbs if not documented(name, text)} == set()
    for each in map(spec.find_backend, spec.backend_names()):
        [row] = [line for line in text.splitlines() if re.match(rf"\| \[?`{each.name}`", line)]
        assert [name for name in each.aliases if f"`{name}`" not in row and name != "openai_api"] == []
        if each.in_process:
            continue
        described = page(f"backends/{each.name}.md")
        named = [option.name for option in each.options if not option.secret]
        assert [name for name in named if f"`{name}" not in row + described] == []
        assert [name for name in (*each.key_env, *each.url_env) if name not in described] == []


@pytest.mark.parametrize("name", api_backends.__all__)
def test_the_older_api_s_page_has_every_method(name: str) -> None:
    text = page("older-api.md")
    kind = getattr(api_backends, name)
    public = {method for method in dir(kind) if not method.startswith("_") and callable(getattr(kind, method, None))}
    twins = {method for method in public if method.startswith("a") and method[1:] in public}
    if name == "ApiKeyMultiplexer":
        text += "".join(f"`{verb}_{provider}_{what}`" for verb, what in KEYS for provider in PROVIDERS)
    assert {method for method in public - twins if not documented(method, text)} == set()


KEYS = (("add", "key"), ("get", "client"))
PROVIDERS = ("openai", "groq", "claude", "gemini", "hf_tgi", "hf_tei", "opea")


def documented(method: str, text: str) -> bool:
    return re.search(rf"`(?:api\.)?(?:{method}|{method.removeprefix('create_')})\b", text) is not None


def test_the_main_class_s_methods_are_on_that_page() -> None:
    text = page("older-api.md").partition("## The main class")[2].partition("\n## ")[0]
    methods = {name for name in vars(main_class) if not name.startswith("_")} - {"close", "aclose"}
    assert {name for name in methods - {"aquery_endpoints"} if not documented(name, text)} == set()


def test_the_gateway_s_page_has_every_path_and_no_other() -> None:
    text = page("gateway.md").partition("## What is served")[0]
    shown = set(re.findall(r"[ `,](/(?:v1|v1beta|api|openai|tei)[\w/]*|/[a-z_]+)(?=[`,: ])", text))
    known = {path for path in routes.POSTS if not path.startswith("/openai/")}
    assert known - shown == set()
    others = {
        "/v1",
        "/v1/tasks/",
        "/openai/v1",
        "/v1/models",
        "/v1/models/",
        "/v1beta/models",
        "/v1beta/models/",
        "/openai/v1/models",
        "/health",
        "/metrics",
        "/info",
        "/tei/MODEL/embed",
    }
    assert shown - known - others - {"/api/tags", "/api/show", "/api/version"} == set()
    for verb in re.findall(r"`(?:/v1beta/models/<model>)?:(\w+)`", text):
        assert routes.find(f"/v1beta/models/m:{verb}", b"") is not None


# --- what the pages take for granted -----------------------------------------------------------------------------


def prepare(simulators: dict[str, SimulatorThread], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, addresses and files as the pages take them for granted."""
    for variable, service in PLACES.items():
        monkeypatch.setenv(variable, simulators[service].url)
    for variable in ("OPENAI_API_KEY", "GROQ_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "HF_API_TOKEN"):
        monkeypatch.setenv(variable, "sk-1")
    monkeypatch.setenv("ACME_API_KEY", "acme-1")
    monkeypatch.setenv("S3_ACCESS_KEY", ACCESS_KEY)
    monkeypatch.setenv("S3_SECRET_KEY", SECRET_KEY)
    monkeypatch.chdir(folder)
    for name in ("handbook.pdf", "report.pdf", "weights.bin", "tiny/weights.bin"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(name.encode())


def placed(code: str, page: str, simulators: dict[str, SimulatorThread], store_url: str) -> str:
    """A block with the addresses of simulators in place of those that stand there."""
    for address, services in ADDRESSES.items():
        service = services.get(page, services[""])
        code = re.sub(re.escape(address) + "(/v1)?", simulators[service].url, code)
    if not store_url:
        return code
    code = code.replace("https://minio.example.org", store_url).replace('"models"', f'"{BUCKET}"')
    return code.replace('"accessKey": "..."', f'"accessKey": "{ACCESS_KEY}"').replace(
        '"secretKey": "..."', f'"secretKey": "{SECRET_KEY}"'
    )
