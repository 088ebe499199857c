"""Streams text from tokens: whole characters only, no stop sequence, no white space at the ends."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.models.chat import text_of


class TextStream:
    """The text of one response: `push` a token, get the text that is now certain.

    Holds back a possible start of a stop sequence, half a character, and trailing white space until
    they are resolved. `stopped` says that a stop sequence has come.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = (), *, strip: bool) -> None:
        self.tokenizer, self.stops, self.strip = tokenizer, [s for s in stops if s], strip
        self.ids: list[int] = []
        self.read = 0  # ids before this one are in `text`
        self.context = 0  # ids from here on are decoded again, since characters may span tokens
        self.text = ""
        self.sent = 0
        self.stopped = False

    def push(self, token: int) -> str:
        """The new certain text; "" while there is none."""
        self.ids.append(token)
        before = self._decode(self.ids[self.context : self.read])
        now = self._decode(self.ids[self.context :])
        if len(now) <= len(before) or now.endswith("\ufffd"):
            return ""
        self._add(now[len(before) :])
        self.context, self.read = self.read, len(self.ids)
        return self._send(len(self.text) - self._held())

    def finish(self) -> str:
        """The remaining text."""
        if not self.stopped:
            before = self._decode(self.ids[self.context : self.read])
            self._add(self._decode(self.ids[self.context :])[len(before) :])
        end = len(self.text.rstrip()) if self.strip else len(self.text)
        return self._send(end)

    def _add(self, new: str) -> None:
        self.text += new
        if self.strip and not self.sent:
            self.text = self.text.lstrip()
        found = [self.text.find(stop) for stop in self.stops]
        found = [at for at in found if at >= 0]
        if found:
            self.text, self.stopped = self.text[: min(found)], True

    def _held(self) -> int:
        """The number of characters at the end that may still be removed."""
        if self.stopped:
            return len(self.text) - len(self.text.rstrip()) if self.strip else 0
        held = 0
        for stop in self.stops:
            for size in range(1, len(stop)):
                if self.text.endswith(stop[:size]):
                    held = max(held, size)
        if self.strip:
            body = self.text[: len(self.text) - held]
            held += len(body) - len(body.rstrip())
        return held

    def _send(self, end: int) -> str:
        new = self.text[self.sent : max(end, self.sent)]
        self.sent += len(new)
        return new

    def _decode(self, ids: Sequence[int]) -> str:
        return text_of(self.tokenizer, ids)
