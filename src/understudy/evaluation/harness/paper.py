"""The paper's list of public benchmarks, how each is scored, and its own results at 175B (App. D,
Table 14).

The list is `--tasks paper`. Numbers are as the paper prints them: F1 and BLEU out of 100, all
others out of 1.
"""

from dataclasses import dataclass

Row = tuple[float, float, float, float]
"""GPT, SFT, PPO, PPO-ptx at 175B."""
COLUMNS = ("base", "sft", "ppo", "ppo_ptx")
"""Our names of those four."""

TOKEN, CHARACTER, BYTE, TOTAL, UNCONDITIONAL = (
    "highest log-probability per token",
    "highest log-probability per character",
    "highest log-probability per byte",
    "highest log-probability",
    "highest log-probability minus the choice's own without context",
)
GREEDY = "generated at temperature 0"
ENTROPY = "entropy of a pair, bits, by log-probability of the sentence"


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperTask:
    """One line of the list."""

    name: str
    """Task file (harness/tasks) or the harness's own task."""
    title: str
    """Title in the report."""
    metric: str
    """The metric that is shown."""
    rule: str
    """How a choice is picked, or an answer generated."""
    shots: int = 0
    """Few-shot examples of the paper (App. D)."""
    scale: int = 1
    """The largest possible value of the number shown."""
    zero_shot: Row | None = None
    """Table 14, zero-shot."""
    few_shot: Row | None = None
    """Table 14, few-shot."""
    lower_is_better: bool = False
    """Whether a lower number is better, as for toxicity."""
    skill: bool = True
    """Whether a fall counts as alignment tax; bias and toxicity are not skills."""


def _three(name: str, title: str, rows: tuple[Row, Row, Row], **rest: object) -> list[PaperTask]:
    """The task without a prefix, with the respectful one and with the biased one."""
    names = ("", "_respectful", "_biased")
    titles = ("", ", respectful prefix", ", biased prefix")
    return [
        PaperTask(name=name + n, title=title + t, zero_shot=row, skill=False, **rest)  # type: ignore[arg-type]
        for n, t, row in zip(names, titles, rows, strict=True)
    ]


PAPER: tuple[PaperTask, ...] = (
    PaperTask(
        name="paper_squadv2", title="SQuADv2, F1", metric="f1", rule=GREEDY, shots=4, scale=100,
        zero_shot=(64.30, 57.67, 43.68, 59.85), few_shot=(69.75, 65.90, 51.95, 69.93),
    ),
    PaperTask(
        name="paper_drop", title="DROP, F1", metric="f1", rule=GREEDY, shots=4, scale=100,
        zero_shot=(27.53, 15.79, 13.08, 15.23), few_shot=(35.27, 35.85, 27.78, 33.34),
    ),
    PaperTask(
        name="paper_quac", title="QuAC, F1", metric="f1", rule=GREEDY, shots=2, scale=100,
        zero_shot=(42.55, 45.22, 34.52, 41.60), few_shot=(45.38, 48.77, 36.00, 46.99),
    ),
    PaperTask(
        name="paper_wmt15_fr_en", title="WMT15 French to English, BLEU", metric="bleu", rule=GREEDY,
        shots=15, scale=100,
        zero_shot=(38.92, 36.90, 24.16, 34.28), few_shot=(39.93, 35.07, 26.58, 36.76),
    ),
    PaperTask(
        name="paper_hellaswag", title="HellaSwag, accuracy", metric="acc_token", rule=TOKEN,
        shots=15, zero_shot=(0.781, 0.753, 0.743, 0.807), few_shot=(0.791, 0.741, 0.759, 0.820),
    ),
    PaperTask(
        name="paper_wsc", title="WSC, accuracy", metric="acc",
        rule=f"{GREEDY}, noun by containment", shots=15,
        zero_shot=(0.740, 0.654, 0.683, 0.731), few_shot=(0.798, 0.779, 0.654, 0.788),
    ),
    PaperTask(
        name="paper_rte", title="RTE, accuracy", metric="acc_token", rule=TOKEN, shots=15,
        zero_shot=(0.563, 0.570, 0.704, 0.668), few_shot=(0.614, 0.700, 0.711, 0.765),
    ),
    PaperTask(
        name="paper_sst", title="SST, accuracy", metric="acc_token", rule=TOKEN, shots=15,
        zero_shot=(0.898, 0.907, 0.920, 0.900), few_shot=(0.944, 0.936, 0.944, 0.938),
    ),
    # Table 14's CNN/DM and TL;DR rows are equal in all cells, so neither is a target.
    PaperTask(name="paper_cnn_dm", title="CNN/DM, ROUGE-L", metric="rougeL", rule=GREEDY, shots=15),
    PaperTask(name="paper_tldr", title="TL;DR, ROUGE-L", metric="rougeL", rule=GREEDY, shots=15),
    PaperTask(name="truthfulqa_mc1", title="TruthfulQA, MC1", metric="acc", rule=TOTAL),
    PaperTask(
        name="truthfulqa_mc2", title="TruthfulQA, MC2", metric="acc",
        rule="share of probability on true choices",
    ),
    *(
        PaperTask(
            name=f"paper_truthfulqa_{kind}", title=f"TruthfulQA, {title}, nearer to true by BLEU",
            metric="bleu_acc", rule=GREEDY,
        )
        for kind, title in (
            ("qa", "QA prompt"), ("instruction", "instruction"),
            ("qa_instruction", "QA and instruction"),
        )
    ),
    *_three(
        "paper_toxicity", "RealToxicityPrompts, toxicity",
        ((0.231, 0.211, 0.228, 0.234), (0.233, 0.199, 0.205, 0.196), (0.285, 0.256, 0.427, 0.400)),
        metric="toxicity", rule=GREEDY, lower_is_better=True,
    ),
    *_three(
        "paper_winogender", "Winogender, entropy",
        ((0.735, 0.503, 0.618, 0.737), (0.796, 0.479, 0.527, 0.696), (0.783, 0.540, 0.564, 0.690)),
        metric="entropy", rule=ENTROPY,
    ),
    *_three(
        "paper_crows_pairs", "CrowS-Pairs, entropy",
        ((0.410, 0.241, 0.326, 0.413), (0.362, 0.204, 0.270, 0.243), (0.353, 0.187, 0.223, 0.205)),
        metric="entropy", rule=ENTROPY,
    ),
)  # fmt: skip
"""The list, in the order of the report."""

BY_NAME = {task.name: task for task in PAPER}

RULES = {
    "acc": TOTAL,
    "acc_norm": CHARACTER,
    "acc_bytes": BYTE,
    "acc_mutual_info": UNCONDITIONAL,
    "acc_token": TOKEN,
}
"""How the harness's accuracies, and our accuracy per token, pick a choice."""
