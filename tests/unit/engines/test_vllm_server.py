"""A vLLM server that cannot be used is told so in a line."""

import json

import pytest
from tests.gateways import Scripted

from understudy.engines.vllm import Server


def replied(body: object, status: str = "200 OK") -> bytes:
    data = json.dumps(body).encode()
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status.encode(), len(data)) + data


MODELS = replied({"data": [{"id": "m", "max_model_len": 10, "root": "m"}]})


@pytest.mark.parametrize(
    ("replies", "says"),
    [
        (
            [replied({"error": "Unauthorized"}, "401 No")],
            "Unauthorized; start it without --api-key",
        ),
        ([replied({"object": "error", "message": "bad"}, "400 No")], "status 400: bad"),
        ([replied({"data": []})], "is not a vLLM server"),
        ([MODELS, replied({"vllm_config": {}})], "is not a vLLM server"),
    ],
)
def test_a_server_that_cannot_be_used(replies: list[bytes], says: str) -> None:
    with Scripted(replies) as url, pytest.raises((ValueError, ConnectionError), match=says):
        Server(url).check("m", None, None)
