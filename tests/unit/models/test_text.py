import pytest
import torch
from tests.fixtures_models import make_policy, make_tokenizer

from understudy.models.text import lm_loss, pack_rows, read_text, text_loss


def test_read_both_formats(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n\n\n\nthree\n")
    assert read_text(tmp_path / "a.txt") == ["one\ntwo", "three"]
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n{"text": "two"}\n')
    assert read_text(tmp_path / "a.jsonl") == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", " \n", "has no text"),
        ("a.csv", "x", "has no text"),
        ("a.jsonl", '{"text": "a"}\n{"txt": "b"}\n', "line 2: field 'text' is missing"),
        ("a.jsonl", "{", "line 1: not valid JSON"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path / name)
    with pytest.raises(ValueError, match="does not exist"):
        read_text(tmp_path / "missing.txt")


def test_rows_are_the_documents_with_eos_between_them():
    tokenizer = make_tokenizer()
    flat = [i for t in ("the cat", "a dog") for i in [*tokenizer(t)["input_ids"], 0]]
    ids_NT = pack_rows(tokenizer, ["the cat", "a dog"], length=3)
    assert ids_NT.flatten().tolist() == flat[: len(flat) // 3 * 3]
    assert pack_rows(tokenizer, ["the cat", "a dog"], length=999).tolist() == [flat]


def test_documents_joined_by_the_name_of_eos_are_apart():
    tokenizer = make_tokenizer()
    eos, pad = tokenizer.eos_token, tokenizer.pad_token
    joined = pack_rows(tokenizer, [f"the cat{eos}a dog{eos}"], length=999).tolist()
    assert joined == pack_rows(tokenizer, ["the cat", "a dog"], length=999).tolist()
    (other,) = pack_rows(tokenizer, [f"the {pad} cat"], length=999).tolist()
    assert tokenizer.pad_token_id not in other  # no other control token comes from text


def test_loss_is_the_mean_over_predicted_tokens():
    model, tokenizer = make_policy(), make_tokenizer()
    ids_NT = pack_rows(tokenizer, ["the cat sat on the mat", "a dog ran"], length=5)
    logits = model(ids_NT).logits[:, :-1]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids_NT[:, 1:].flatten())
    assert lm_loss(model, ids_NT).item() == pytest.approx(expected.item(), abs=1e-5)
    for budget in (5, 1000):
        loss = text_loss(
            model, tokenizer, ["the cat sat on the mat", "a dog ran"], 5, batch_tokens=budget
        )
        assert loss == pytest.approx(expected.item(), abs=1e-5)
    with pytest.raises(ValueError, match="fewer than 2 tokens"):
        text_loss(model, tokenizer, [""])
