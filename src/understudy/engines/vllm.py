"""Rollouts by a vLLM server, over HTTP. vLLM has its own environment and is never imported.

    VLLM_SERVER_DEV_MODE=1 PYTHONPATH=.../understudy/engines/vllm_worker \\
        python -m vllm.entrypoints.openai.api_server --model MODEL --dtype float32 \\
        --logprobs-mode processed_logprobs --enable-scale-out \\
        --worker-extension-cls understudy_worker.Reload

Weights go through the disk: the server loads a model folder in place (`/collective_rpc`, which runs
`vllm_worker/understudy_worker.py`), drops what it cached with the old weights
(`/reset_prefix_cache`), and labels the new weights with a version (`/update_weight_version`). A
request (`/inference/v1/generate`) sends token ids and gets token ids, their log-probs and the
versions that drew them; a response from any other version is refused.

The server draws its own noise, seeded for each response by (seed, key). Responses do not depend on
their order, but they differ from the native engine's.
"""

import json
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from transformers import AutoConfig
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.engines.generation import Generation
from understudy.engines.noise import stream_states
from understudy.models.policies import load_tokenizer, one_line
from understudy.records.convert import complaint_in

SECONDS = 3600.0
"""Timeout for one response, or for loading weights."""
WORKER = "understudy_worker.Reload"
"""Class by which the server's workers load weights."""
LEAST_TEMPERATURE = 0.01
"""vLLM raises lower temperatures to this one."""
PAGE = "docs/scale.md"


class Server:
    """A vLLM server, which holds the weights of one run at a time."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.version = ""
        """Label of the weights that must draw responses."""
        self.context = 0
        """Most tokens of a prompt with its response; `check` sets it."""

    def check(self, model: str, config: Any, tokenizer: Tokenizer) -> None:
        """ValueError if the server is not set up for rollouts of this model, ConnectionError if
        there is no server. Call it before `load`: weights of another shape would kill the
        server."""
        try:
            served = self._ask("GET", "/v1/models")["data"][0]
            self.context = int(served["max_model_len"])
            asked = "/server_info?config_format=json"
            settings = self._ask("GET", asked, missing="VLLM_SERVER_DEV_MODE=1")["vllm_config"]
            worker = settings["parallel_config"]["worker_extension_cls"]
            mode = settings["model_config"]["logprobs_mode"]
        except (LookupError, TypeError):
            raise ValueError(f"{self.url} is not a vLLM server; start one ({PAGE})") from None
        if worker != WORKER:
            raise ValueError(
                f"the vLLM server at {self.url} cannot load new weights; start it with "
                f"PYTHONPATH={Path(__file__).parent / 'vllm_worker'} and "
                f"--worker-extension-cls {WORKER}"
            )
        if mode != "processed_logprobs":
            raise ValueError(
                f"the vLLM server at {self.url} returns {mode}, which ignore the temperature; "
                "start it with --logprobs-mode processed_logprobs"
            )
        folder = served["root"]
        try:
            theirs = AutoConfig.from_pretrained(folder)
            other = differences(config, theirs)
            if not other and load_tokenizer(folder).get_vocab() != tokenizer.get_vocab():
                other = ["tokenizer"]
        except (OSError, ValueError) as error:
            raise ValueError(
                f"the vLLM server at {self.url} serves {folder}, which cannot be read here "
                f"({one_line(error)}); both need the same storage, since weights go through it"
            ) from None
        if other:
            raise ValueError(
                f"the vLLM server at {self.url} serves {folder}, another model than {model} (they "
                f"differ in {', '.join(other)}); start it with --model {model}"
            )

    def load(self, folder: Path | str, version: str) -> None:
        """Load the weights of a model folder in place; from now on responses from other weights are
        refused."""
        self.version = version
        path = str(Path(folder).resolve() if Path(folder).is_dir() else folder)
        call = {"method": "load_folder", "args": [path], "timeout": SECONDS}
        self._ask("POST", "/collective_rpc", call, missing="VLLM_SERVER_DEV_MODE=1")
        if not self._ask("POST", "/reset_prefix_cache", {})["success"]:
            raise ConnectionError(
                f"the vLLM server at {self.url} is answering another client, so it keeps what it "
                "computed with the old weights; give this run its own server"
            )
        self._ask("POST", "/update_weight_version", {"new_version": version})

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        keys: Sequence[Sequence[int]],
        stop_ids: Collection[int],
        slots: int,
        on_end: Callable[[int], None] = lambda number: None,
    ) -> list[Generation]:
        """One response per prompt, in the prompts' order, as from `generation.generate`; `slots`
        requests run at a time. ConnectionError if one fails or is stale; ValueError for a
        temperature that the server would change."""
        if temperature < LEAST_TEMPERATURE:
            raise ValueError(
                f"temperature is {temperature:g}; vLLM takes {LEAST_TEMPERATURE:g} and above"
            )
        shared = {
            "max_tokens": max_new_tokens,
            "temperature": temperature,
            "logprobs": 0,
            "stop_token_ids": sorted(stop_ids),
            "ignore_eos": True,  # end at our stop tokens only
            "detokenize": False,
            **{"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0},
        }
        seeds = [int(state) >> 1 for state in stream_states(seed, keys)]  # vLLM's seeds are signed

        def draw(number: int) -> Generation:
            body = {
                "token_ids": list(prompts[number]),
                "sampling_params": shared | {"seed": seeds[number]},
            }
            needs = "--enable-scale-out"
            (choice,) = self._ask("POST", "/inference/v1/generate", body, missing=needs)["choices"]
            return self._generation(choice, stop_ids)

        found: dict[int, Generation] = {}
        with ThreadPoolExecutor(max_workers=max(1, min(slots, len(prompts)))) as pool:
            numbers = {pool.submit(draw, number): number for number in range(len(prompts))}
            try:
                for future in as_completed(numbers):
                    found[numbers[future]] = future.result()
                    on_end(1)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [found[number] for number in range(len(prompts))]

    def _generation(self, choice: dict[str, Any], stop_ids: Collection[int]) -> Generation:
        """A response as the server sent it; ConnectionError if it is stale or incomplete."""
        versions = {span["version"] for span in choice["weight_versions"] or ()}
        if versions != {self.version}:
            raise ConnectionError(
                f"the vLLM server at {self.url} sampled with weights "
                f"{', '.join(sorted(versions)) or 'of no version'} instead of {self.version}: it "
                "was restarted, or another run uses it; give this run its own server and "
                "continue it with --resume"
            )
        ids, rows = choice["token_ids"], choice["logprobs"]["content"]
        if choice["finish_reason"] not in ("stop", "length") or len(ids) != len(rows) or not ids:
            raise ConnectionError(
                f"the vLLM server at {self.url} ended a response with "
                f"{choice['finish_reason']!r} after {len(ids)} tokens; continue with --resume"
            )
        return Generation(ids, [row["logprob"] for row in rows], ids[-1] in stop_ids)

    def _ask(self, method: str, path: str, body: Any = None, missing: str = "") -> Any:
        """The server's reply. ConnectionError if it does not reply, or with the message of its
        refusal; ValueError if it lacks the route, which `missing` would switch on when it
        starts."""
        parts = urlsplit(self.url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(str(parts.hostname), parts.port, timeout=SECONDS)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            status, content = reply.status, reply.read()
        except (OSError, HTTPException) as error:
            reason = one_line(error) or type(error).__name__
            raise ConnectionError(
                f"the vLLM server at {self.url} does not answer ({reason}); start it ({PAGE}), "
                "then give this command again, with --resume if the run had begun"
            ) from None
        finally:
            connection.close()
        if missing and status in (403, 404):
            raise ValueError(
                f"the vLLM server at {self.url} has no {path.split('?')[0]}; start it with "
                f"{missing} ({PAGE})"
            )
        try:
            said = json.loads(content)
        except ValueError:
            said = {}
        if status != 200:
            message = " ".join(complaint_in(said).split())[:300] or "no reason given"
            if status == 401:
                message += "; start it without --api-key"
            raise ConnectionError(
                f"the vLLM server at {self.url} refused {path}, status {status}: {message}"
            )
        return said


def differences(ours: Any, theirs: Any) -> list[str]:
    """Fields in which two configs differ, among those that determine the weights' shapes and
    use."""
    mine, other = ours.to_dict(), theirs.to_dict()
    return [
        name
        for name, value in mine.items()
        if (isinstance(value, int) or name == "model_type")
        and not name.endswith("_token_id")
        and name != "use_cache"
        and other.get(name) != value
    ]
