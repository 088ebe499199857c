"""Rows from samples, and estimates by hand and against sacrebleu."""

import pytest

pytest.importorskip("lm_eval", reason="the extra 'benchmarks' is not installed")

import sacrebleu

from understudy.evaluation.harness.scores import difference, estimate, metrics_of, rows_of

TEXTS = [
    ("the cat sat on the mat", "the cat sat on a mat"),
    ("a dog ran to the old house", "the dog ran to a house"),
    ("bread and cheese", "cheese and soup and bread"),
]


def _bleu_rows(texts):
    rows = []
    for number, (text, reference) in enumerate(texts):
        found = sacrebleu.corpus_bleu([text], [[reference]])
        stats = [found.sys_len, found.ref_len, *found.counts, *found.totals]
        rows.append({"item": number, "values": {"bleu": stats}})
    return rows


def test_bleu_of_rows_is_sacrebleus():
    expected = sacrebleu.corpus_bleu([t for t, _ in TEXTS], [[r for _, r in TEXTS]]).score / 100
    found = estimate(_bleu_rows(TEXTS), "bleu")
    assert found.rate == pytest.approx(expected)
    assert found.low <= found.rate <= found.high
    same = difference(_bleu_rows(TEXTS), _bleu_rows(TEXTS), "bleu")
    assert (same.rate, same.low, same.high) == (0, 0, 0)
    better = difference(_bleu_rows([(r, r) for _, r in TEXTS]), _bleu_rows(TEXTS), "bleu")
    assert better.low > 0


def test_estimates_and_paired_differences_by_hand():
    rows, others = (
        [{"item": i, "values": {"acc": v, "words": 10 * v + i}} for i, v in enumerate(values)]
        for values in ([1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0])
    )
    assert estimate(rows, "acc").rate == 0.75
    assert estimate(rows, "words").rate == 9.0
    gap = difference(rows, others, "acc")
    assert gap.rate == 0.5
    assert gap.low < 0.5 < gap.high
    assert metrics_of(rows) == ["acc", "words"]
    with pytest.raises(ValueError, match="same items"):
        difference(rows, others[::-1], "acc")


def _sample(**changes):
    sample = {
        "doc_id": 7, "filter": "none", "target": 1, "metrics": ["acc"], "acc": 0.0,
        "arguments": [("Q:", " a"), ("Q:", " a long one")],
        "resps": [[(-2.0, True)], [(-3.0, False)]],
        "filtered_resps": [(-2.0, True), (-3.0, False)],
    }  # fmt: skip
    return sample | changes


def test_every_rule_keeps_its_pick():
    (row,) = rows_of([_sample()], {("Q:", " a"): 1, ("Q:", " a long one"): 3}, one_right=True)
    assert row["pick"] == {"total": 0, "token": 1, "character": 1}
    assert row["values"] == {"acc": 0.0, "acc_token": 1.0}
    assert (row["item"], row["prompt"], row["tokens"]) == (7, "Q:", [1, 3])
    (row,) = rows_of([_sample()], {("Q:", " a"): 1, ("Q:", " a long one"): 3}, one_right=False)
    assert row["values"] == {"acc": 0.0}


def test_what_was_written_is_kept():
    sample = _sample(
        arguments=[("Q:", {"until": ["\n"]})], resps=[[" Lund"]], filtered_resps=["Lund"]
    )
    (row,) = rows_of([sample], {}, one_right=False)
    assert (row["response"], row["text"]) == (" Lund", "Lund")
    assert "pick" not in row
