"""A language model as the judge of a run of RL: it compares what a policy says with what it said.

It is asked as by `understudy judge`: in both orders, each question once, with the key in
UNDERSTUDY_JUDGE_KEY. Replies are kept in a file, so a resumed run pays for none twice.
"""

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from understudy.evaluation.judge_prompt import asked, read_template, verdict_of
from understudy.evaluation.model_judge import WORTH
from understudy.loop.judge import KEY_VARIABLE
from understudy.records import Conversation, Prompt
from understudy.records.convert import Json, many, shortened
from understudy.rl.stopping import Said
from understudy.serving.ask import Asker, Limits, chat, key_of
from understudy.serving.upstream import check_url

MAX_REPLY_TOKENS = 512
"""Longest reply, as in `understudy judge`."""


@dataclass(frozen=True, slots=True)
class ModelJudge:
    """A language model that compares responses, at an OpenAI-compatible address."""

    url: str
    model: str
    kept: Path
    """The file of its replies."""

    @property
    def asks(self) -> bool:
        """Whether this process asks: the first of those that train together."""
        return os.environ.get("RANK", "0") == "0"

    def check(self) -> None:
        """Ask one question whose answer is plain, before anything is trained."""
        check_url(self.url, "judge_url", KEY_VARIABLE)
        question = self._question("Name a prime number.", "7", "9")
        try:
            with TemporaryDirectory() as folder:
                replies = self._ask([question], Path(folder) / "judge.jsonl")
        except ConnectionError as error:
            why = str(error).partition("; ")[0]
            raise ConnectionError(f"judge_url: {why}; nothing has been trained") from None
        reply = replies.get(key_of(question), "")
        if verdict_of(reply) is None:
            raise ValueError(
                f"{self.model} at {self.url} ends with no line 'Verdict: A', 'Verdict: B' or "
                f"'Verdict: tie', but with {shortened(reply[-60:])}; give another model"
            )

    def outcomes(
        self, prompts: Sequence[Prompt], now: Sequence[Said], first: Sequence[Said]
    ) -> list[float]:
        """See `rl.stopping.Judge`. The mean of both orders; identical texts tie without a question,
        and so does a pair with a verdict that cannot be read; ValueError if those are most."""
        rows = list(zip(prompts, now, first, strict=True))
        if not self.asks:
            return [0.5] * len(rows)
        both = [
            None if new.text == old.text else tuple(self._orders(prompt.prompt, new, old))
            for prompt, new, old in rows
        ]
        num_asked = sum(pair is not None for pair in both)
        if num_asked:
            print(f"judge: asks {self.model} about {many(num_asked, 'pair')}", file=sys.stderr)
        replies = self._ask([one for pair in both if pair for one in pair], self.kept)
        outcomes, unread = [], 0
        for pair in both:
            said = [verdict_of(replies.get(key_of(one), "")) for one in pair or ()]
            if len(said) == 2 and said[0] is not None and said[1] is not None:
                outcomes.append((WORTH[said[0]] + 1 - WORTH[said[1]]) / 2)
            else:
                outcomes.append(0.5)
                unread += pair is not None
        if unread:
            said_so = f"judge: no readable verdict on {unread:,} of {many(num_asked, 'pair')}"
            if 2 * unread > num_asked:
                raise ValueError(
                    f"{said_so}; once {self.model} ends its replies with a verdict, remove those "
                    f"without one from {self.kept} and continue with --resume"
                )
            print(f"{said_so}, taken for ties", file=sys.stderr)
        return outcomes

    def _orders(self, prompt: Conversation, new: Said, old: Said) -> Iterator[Json]:
        yield self._question(prompt, new.text, old.text)
        yield self._question(prompt, old.text, new.text)

    def _question(self, prompt: Conversation, first: str, second: str) -> Json:
        text = asked(read_template(None), prompt, first, second)
        return chat(self.model, text, temperature=0.0, max_tokens=MAX_REPLY_TOKENS)

    def _ask(self, questions: Sequence[Json], kept: Path) -> dict[str, str]:
        asker = Asker(self.url, kept=kept, limits=Limits(), key=os.environ.get(KEY_VARIABLE))
        return asyncio.run(asker.ask(questions))
