"""The gateway connects where it may, and nowhere else: whatever the name server says."""

import asyncio
import socket

import pytest
from tests.gateways import FakeUpstream, Scripted, make_key, plain_client, running
from tests.stores import make_project

from understudy.serving.addresses import checked_addresses, parse_address, why_refused
from understudy.serving.app import build_app
from understudy.serving.gateway import Settings
from understudy.serving.serve import ServeConfig, check_backend
from understudy.serving.upstream import Upstream, check_upstream
from understudy.serving.wire import ApiError, ChatRequest

ASK = ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
PUBLIC = "93.184.216.34"
PRIVATE = (
    *("10.0.0.1", "172.16.3.4", "192.168.1.1", "127.0.0.1", "100.64.0.1", "::1", "fd00::1"),
    *("::ffff:10.0.0.1", "2002:0a00:0001::", "64:ff9b::10.0.0.1", "192.0.2.1"),
)
NEVER = (
    *("169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1"),
    *("::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "fe80::1%eth0"),
)


class Names:
    """A name server that gives its answers one after another, the last for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.mark.parametrize("text", [PUBLIC, "2606:2800:220:1::1", "8.8.8.8"])
def test_public_addresses_are_fine(text: str) -> None:
    assert why_refused(text, private=False) == ""


@pytest.mark.parametrize("text", PRIVATE)
def test_private_addresses_must_be_asked_for(text: str) -> None:
    assert "--upstream-private" in why_refused(text, private=False)
    assert why_refused(text, private=True) == ""


@pytest.mark.parametrize("text", NEVER)
def test_where_clouds_keep_their_metadata_is_never_an_upstream(text: str) -> None:
    assert "never allowed" in why_refused(text, private=True)


def test_what_is_an_address() -> None:
    assert parse_address("vllm.example.com") is None
    assert why_refused("vllm", private=True) == "which is not an address"
    for host in ("127.0.0.1", "localhost"):  # the config says so itself
        found = asyncio.run(checked_addresses(host, 1, private=False, resolve=Names(["127.0.0.1"])))
        assert found == ["127.0.0.1"]


def test_one_bad_address_among_good_ones_is_enough() -> None:
    with pytest.raises(ValueError, match=r"leads to 10\.0\.0\.1, which is not public"):
        asyncio.run(checked_addresses("h", 1, private=False, resolve=Names([PUBLIC, "10.0.0.1"])))


def test_a_name_that_turns_to_this_machine_is_not_followed() -> None:
    """DNS rebinding: public when it was looked at first, this machine when it is connected to."""
    with running(FakeUpstream()) as url:
        port = int(url.rpartition(":")[2])
        names = Names([PUBLIC], ["127.0.0.1"])
        where = f"http://model.example.com:{port}/v1"
        asyncio.run(check_upstream(where, private=False, resolve=names))
        rebound = Upstream(where, name="m", resolve=names)
        with pytest.raises(ApiError, match="cannot be reached"):
            asyncio.run(_answered(rebound))
        private = Upstream(where, name="m", private=True, resolve=names)
        answer = asyncio.run(_answered(private))
    assert answer["choices"][0]["message"]["content"] == "You said: Hi"
    assert names.asked == 3  # once per connection: what was looked at is what is connected to


async def _answered(backend: Upstream):
    try:
        return await backend.answer(ASK, "x")
    finally:
        await backend.close()


def test_serve_refuses_such_an_upstream_at_once(monkeypatch) -> None:
    async def at_home(host: str, port: int) -> list[str]:
        return ["192.168.1.7"]

    monkeypatch.setitem(check_upstream.__kwdefaults__, "resolve", at_home)
    config = ServeConfig(upstream="http://vllm.internal:8000/v1")
    with pytest.raises(ValueError, match=r"vllm\.internal leads to 192\.168\.1\.7.*private"):
        check_backend(config)


def test_a_redirect_is_not_followed_and_nothing_else_is_asked(tmp_path) -> None:
    """The redirect leads to a server that would notice."""
    project = make_project("sqlite", tmp_path / "project")
    key = make_key(project, "ann")
    trap = socket.create_server(("127.0.0.1", 0))
    trap.settimeout(0.0)
    trap_url = f"http://127.0.0.1:{trap.getsockname()[1]}/v1"
    body = b'{"error": {"message": "look elsewhere"}}'
    answers = [
        f"HTTP/1.1 {status}\r\nLocation: {trap_url}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
        for status in ("301 x", "302 x", "307 x", "308 x")
    ]
    header = {"Authorization": f"Bearer {key}"}
    with Scripted(answers) as url:
        backend = Upstream(f"{url}/v1", name="m")
        app = build_app(Settings(log=project.log), project.open_store(), backend)
        with running(app) as gateway, plain_client(headers=header) as http:
            for _ in answers:
                body = ASK.model_dump(exclude_none=True)
                reply = http.post(f"{gateway}/v1/chat/completions", json=body)
                assert reply.status_code == 502
                assert trap_url not in reply.text
    with pytest.raises(BlockingIOError):
        trap.accept()
    trap.close()
