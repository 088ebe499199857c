"""Results of a model as judge, in words: what `understudy judge` prints, and the report's
paragraph."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.evaluation import page
from understudy.evaluation.points import percent, with_ends
from understudy.records.convert import many

ROLES = {
    "held_out": "held-out labelers",
    "training": "training labelers",
    "researcher": "researchers",
}


def said(results: Mapping[str, Any], baseline: str | None, out: Path) -> str:
    """Lines for a terminal: what was judged and left out, position bias, agreement, win rates."""
    about = results["model_judge"]
    lines = [f"{about['model']} judged {about['pairs']:,} of {about['wanted']:,} pairs"]
    lines += left_out(about)
    lines.append(
        f"{about['requests']:,} requests ({about['repeated']:,} of them repeated), "
        f"{about['tokens']:,} tokens by the server's count"
    )
    if about.get("flipped"):
        lines.append(f"position bias: {_bias(about)}; ties {percent(about['ties'])}")
    lines += agreement_lines(about)
    if baseline is not None:
        lines += win_lines(results, baseline)
    if "rankings" in about:
        lines.append(f"{many(about['rankings'], 'ranking')} by the model in {out}/rankings.jsonl")
    return "\n".join([*lines, f"comparisons by the model in {out}/comparisons.jsonl"])


def left_out(about: Mapping[str, Any]) -> list[str]:
    """Lines that say why pairs have no verdict."""
    lines = []
    if about["unreadable"]:
        lines.append(f"{many(about['unreadable'], 'reply', 'replies')} without a readable verdict")
    if about["refused"]:
        lines.append(f"{about['refused']:,} requests refused, such as: {about['refusal']}")
    if about["stopped_by"]:
        lines.append(
            f"stopped by {about['stopped_by']}: the pairs judged are a random sample, people's "
            "first; give the same command again to continue"
        )
    return lines


def agreement_lines(about: Mapping[str, Any]) -> list[str]:
    """Lines that say how far people agree with the model and with each other."""
    people = about.get("people")
    if not people:
        return ["agreement with people: unknown, since no pair has a person's label (--people)"]
    lines = [
        f"agreement with people on {many(people['pairs'], 'pair')} of "
        f"{many(people['labelers'], 'labeler')}: "
        f"{with_ends(people['agreement'])} (a tie against a preference is half)"
    ]
    if untied := people.get("agreement_untied"):
        lines.append(f"  where neither side ties: {with_ends(untied)}")
    if among := people.get("among_people"):
        lines.append(f"  people with each other on the same pairs: {with_ends(among)}")
    return lines


def win_lines(results: Mapping[str, Any], baseline: str) -> list[str]:
    """Each model's win rate by the model, by people, and by people with the model's help."""
    key = f"win_rates_vs_{baseline}_model_judge"
    lines = []
    for model, point in results[key].items():
        lines.append(f"{model} against {baseline} by the model: {with_ends(point)}")
        found = results.get(f"{key}_corrected", {}).get(model)
        if found:
            lines.append(
                f"  by {ROLES[found['people']]} with its help: {with_ends(found)}; by them alone: "
                f"{with_ends(found['people_alone'])}"
            )
    return lines


def model_judge(results: Mapping[str, Any]) -> str:
    """The report's paragraph about the model that judges; "" without one."""
    about = results.get("model_judge")
    if not about or not about.get("flipped"):
        return ""
    text = f"{about['model']}, a model, judged {about['pairs']:,} pairs in both orders: "
    text += f"{_bias(about)}. "
    people = about.get("people")
    if not people:
        return page.paragraph(f"{text}Nobody has measured how far people agree with it.", "soft")
    text += (
        f"It agrees with people on {with_ends(people['agreement'])}, a tie against a preference "
        "counting half"
    )
    if among := people.get("among_people"):
        text += f"; people agree with each other on {with_ends(among)} of the same pairs"
    corrected = results.get(f"win_rates_vs_{results.get('baseline', 'sft')}_model_judge_corrected")
    if corrected:
        labels = " and ".join(sorted({ROLES[found["people"]] for found in corrected.values()}))
        text += (
            f". People's win rates are estimated from the labels of {labels} and the model's "
            "verdicts on the other pairs, which is right only if the labeled pairs were chosen at "
            "random"
        )
    return page.paragraph(text + ".", "soft")


def _bias(about: Mapping[str, Any]) -> str:
    return (
        f"the verdict changes with the order on {with_ends(about['flipped'])}, and the response "
        f"shown first wins {with_ends(about['first_shown'])}"
    )
