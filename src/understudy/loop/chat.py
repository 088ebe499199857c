"""Talk to one or more models side by side: `understudy chat runs/sft/model runs/ppo/model`.

Each model keeps its own conversation. `/new` starts over; Ctrl-D or `/quit` ends.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Any

from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.text import Text
from tyro.conf import Positional, arg

from understudy.loop.names import model_folder
from understudy.records import Conversation, Message


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatConfig:
    """Talk to one or more models side by side."""

    models: Annotated[Positional[tuple[str, ...]], arg(metavar="MODEL [MODEL ...]")]
    """Model folders, run folders or hub names."""
    prompt: str | None = None
    """Send this one prompt, print the responses and exit; without it, chat interactively."""
    temperature: float = 1.0
    """Sampling temperature; 0 is greedy."""
    max_new_tokens: int = 256
    """Longest response, in tokens."""
    device: str = "auto"
    """Where to compute: "auto" (CUDA if there is one), "cpu", "cuda", "cuda:1"."""
    bf16: bool = False
    """Compute in bf16, and store the layers' matrices in it."""
    seed: int = 0
    """Seed of the sampling; the same conversation gives the same responses."""

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("chat needs at least one model; give a model folder or a hub name")
        if self.temperature < 0:
            raise ValueError(f"--temperature is {self.temperature}; it must be 0 or more")


def chat(config: ChatConfig) -> None:
    """Respond to `config.prompt`, or to typed lines until the end of input."""
    speakers = [Speaker(name, config) for name in config.models]
    if config.prompt is not None:
        for speaker in speakers:
            response = speaker.respond(config.prompt)
            print(response if len(speakers) == 1 else f"{speaker.name}: {response}")
        return
    console = Console()
    console.print("/new starts over, /quit or Ctrl-D ends", style="dim")
    while (line := _read_line(console)) is not None:
        if line == "/new":
            for speaker in speakers:
                speaker.turns = ()
        elif line:
            show_responses(console, [(s.name, s.respond(line)) for s in speakers])


def _read_line(console: Console) -> str | None:
    try:
        line = console.input("[bold]you[/] > ") if sys.stdin.isatty() else input()
    except EOFError:
        return None
    return None if line.strip() == "/quit" else line.strip()


def show_responses(console: Console, responses: list[tuple[str, str]]) -> None:
    """Print panels, side by side where there is room; responses are plain text, never markup."""
    width = max(24, console.width // len(responses) - 2)
    panels = [
        Panel(Text(text or "(nothing)"), title=Text(name), width=width) for name, text in responses
    ]
    console.print(Columns(panels))


class Speaker:
    """A model and its side of the conversation."""

    def __init__(self, name: str, config: ChatConfig) -> None:
        from understudy.models.compute import place
        from understudy.models.policies import load_policy

        self.name, self.config = name, config
        self.model, self.tokenizer = load_policy(model_folder(name))
        place(self.model, config, frozen=True)
        self.turns: tuple[Message, ...] = ()

    def respond(self, text: str) -> str:
        """The model's response to `text`; both are added to the conversation."""
        self.turns = (*self.turns, Message("user", text))
        ids = self._fitting_prompt()
        response = self._generate(ids)
        self.turns = (*self.turns, Message("assistant", response))
        return response

    def _fitting_prompt(self) -> list[int]:
        """The conversation's token ids; drops the oldest turns that the context has no room for."""
        from understudy.models.chat import check_prompt_length, render_prompt
        from understudy.models.trunk import context_length

        room = context_length(self.model)
        while True:
            ids = render_prompt(self.tokenizer, _conversation(self.turns))
            if room is None or len(ids) < room:
                return ids
            if len(self.turns) == 1:
                check_prompt_length(_conversation(self.turns), ids, room, self.name)
            self.turns = self.turns[2:]

    def _generate(self, ids: list[int]) -> str:
        from understudy.engines.generation import generate
        from understudy.models.chat import decode_response, padding_id
        from understudy.models.trunk import context_length

        room = context_length(self.model)
        limit = self.config.max_new_tokens
        sampling: dict[str, Any] = {"greedy": True}
        if self.config.temperature > 0:
            sampling = {"temperature": self.config.temperature}
        (generation,) = generate(
            self.model,
            [ids],
            max_new_tokens=limit if room is None else max(1, min(limit, room - len(ids))),
            seed=self.config.seed,
            keys=[(len(self.turns),)],
            stop_ids=self.model.stop_ids,
            pad_id=padding_id(self.tokenizer),
            **sampling,
        )
        return decode_response(self.tokenizer, generation.ids)


def _conversation(turns: tuple[Message, ...]) -> Conversation:
    return turns[0].content if len(turns) == 1 else turns
