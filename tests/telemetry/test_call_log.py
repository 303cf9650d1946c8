"""The log of calls: a line each, with ids and figures, and never a word of content."""

from __future__ import annotations

import logging

import pytest

from ipfs_accelerate_py import Client
from ipfs_accelerate_py.errors import ConfigurationError, ServerError
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from ipfs_accelerate_py.telemetry.call_log import CALL_LOGGER, CallLog
from tests.telemetry.support import SECRET_WORD, make_record
from tests.upstreams import client_of


async def test_a_line_for_each_call(sim: SimulatorThread, caplog: pytest.LogCaptureFixture) -> None:
    async with client_of(sim.url, max_retries=0) as client:
        client.log_calls()
        with caplog.at_level(logging.DEBUG):
            reply = await client.chat("gpt-4o", SECRET_WORD, request_id="mine", tenant="acme")
            sim.script(Fault.status(503, message=SECRET_WORD))
            with pytest.raises(ServerError):
                await client.chat("gpt-4o", SECRET_WORD)
            client.log_calls(None)
            await client.chat("gpt-4o", "x")
    good, bad = [record for record in caplog.records if record.name == CALL_LOGGER]
    assert (good.levelno, bad.levelno) == (logging.INFO, logging.WARNING)
    fields = good.__dict__["call"]
    assert fields["request_id"] == "mine"
    assert fields["upstream_request_id"] == reply.upstream_request_id
    assert (fields["model"], fields["tenant"], fields["outcome"]) == ("gpt-4o", "acme", "success")
    assert fields["output_tokens"] == reply.usage.output_tokens
    assert "outcome=failure" in bad.getMessage()
    assert "error=ServerError status=503" in bad.getMessage()
    assert SECRET_WORD not in caplog.text
    assert reply.text not in caplog.text


def test_one_call_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, CALL_LOGGER):
        CallLog("debug")(make_record(model="m\r\noutcome=forged", tenant="t" * 1000))
    [record] = caplog.records
    assert record.levelno == logging.DEBUG
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 600


@pytest.mark.parametrize("level", ["loud", True, 1.5])
def test_wrong_levels_are_refused(level: object) -> None:
    with pytest.raises(ConfigurationError):
        CallLog(level)  # type: ignore[arg-type]


def test_the_synchronous_client_logs_too(sim: SimulatorThread, caplog: pytest.LogCaptureFixture) -> None:
    with Client("openai", base_url=sim.url, api_key="sk-1") as client, caplog.at_level(logging.INFO, CALL_LOGGER):
        client.log_calls("INFO")
        client.chat("gpt-4o", "x")
        client.log_calls(None)
    assert len([record for record in caplog.records if record.name == CALL_LOGGER]) == 1
