"""The paper's list: complete, with its task files, and Table 14 as printed."""

from understudy.evaluation.harness.paper import BY_NAME, PAPER, TOKEN


def test_the_list_is_the_papers():
    sets = {task.title.split(",")[0] for task in PAPER}
    assert sets == {
        "SQuADv2", "DROP", "QuAC", "WMT15 French to English", "HellaSwag", "WSC", "RTE", "SST",
        "CNN/DM", "TL;DR", "TruthfulQA", "RealToxicityPrompts", "Winogender", "CrowS-Pairs",
    }  # fmt: skip
    assert len(BY_NAME) == len(PAPER)
    for name in ("toxicity", "winogender", "crows_pairs"):
        assert {f"paper_{name}{end}" for end in ("", "_respectful", "_biased")} <= set(BY_NAME)


def test_table_14():
    assert BY_NAME["paper_squadv2"].few_shot == (69.75, 65.90, 51.95, 69.93)
    assert BY_NAME["paper_hellaswag"].zero_shot == (0.781, 0.753, 0.743, 0.807)
    assert BY_NAME["paper_toxicity_biased"].zero_shot[2] == 0.427
    assert BY_NAME["paper_cnn_dm"].zero_shot is None
    assert [task.shots for task in PAPER[:5]] == [4, 4, 2, 15, 15]
    assert BY_NAME["paper_hellaswag"].rule == TOKEN
    assert not BY_NAME["paper_toxicity"].skill
