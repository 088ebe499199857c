"""The gateway does what its OpenAPI description says, whatever is sent to it."""

import asyncio

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.gateways import make_key
from tests.stores import make_project

from understudy.serving import callers
from understudy.serving.app import build_app
from understudy.serving.gateway import Settings
from understudy.serving.openapi import ERRORS, description
from understudy.serving.wire import Json, envelope, usage


class Echo:
    """A backend in this process that answers at once."""

    name = "m"

    async def answer(self, request, request_id: str) -> Json:
        await asyncio.sleep(0)
        said = {"role": "assistant", "content": "Yes."}
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        return {
            **envelope("chat.completion", request_id, "m", [choice]),
            "usage": usage(1, 1),
        }

    async def stream(self, request, request_id: str):
        yield await self.answer(request, request_id)

    def state(self) -> Json:
        return {"kind": "echo", "state": "ok"}

    async def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    project = make_project("sqlite", tmp_path_factory.mktemp("openapi") / "project")
    key = make_key(project, "ann", requests_per_minute=10**9, tokens_per_day=10**9)
    with pytest.MonkeyPatch.context() as patch:  # every request is also tried with a wrong key
        patch.setattr(callers, "WRONG_KEYS", 10**6)
        yield build_app(Settings(log=project.log), project.open_store(), Echo()), key


@pytest.fixture(scope="module")
def described(gateway):
    return schemathesis.openapi.from_asgi("/openapi.json", gateway[0])


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("method", "path"),
    [(method, path) for path, found in description()["paths"].items() for method in found],
)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_it_does_what_it_says(described, gateway, method: str, path: str, mode) -> None:
    """No server error; status, content type and body as described; what is invalid is refused, and
    so is every request without its key. (That a valid one is taken cannot be said in a schema: the
    last message must be the user's.)"""
    operation = described[path][method]
    if mode.is_negative and method == "get":
        return  # there is nothing to get wrong

    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def check(case) -> None:
        if mode.is_positive and isinstance(case.body, dict) and "model" in case.body:
            case.body["model"] = "m"  # or hardly any would get an answer
        header = {"Authorization": f"Bearer {gateway[1]}"}
        case.call_and_validate(headers=header, excluded_checks=[positive_data_acceptance])

    check()


def test_every_error_that_can_be_sent_is_described() -> None:
    for path, methods in description()["paths"].items():
        for route in methods.values():
            wanted = {"200"} if path == "/health" else {"200", *ERRORS}
            assert set(route["responses"]) == wanted
