"""A base model's answer to the bare prompt."""

from understudy.loop.stages.responses import without_label


def test_the_label_of_a_forums_reply_is_no_part_of_the_answer():
    assert without_label("reply: good.") == "good."
    assert without_label("good. reply: bad.") == "good. reply: bad."
    assert without_label("reply:") == "reply:"
