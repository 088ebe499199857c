"""The evaluation stage (s3.6): models in, responses, judgements and results out.

    understudy evaluate --models sft=runs/sft/model ppo=runs/ppo/model --prompts test.jsonl \
        --reward-model runs/reward/model --out runs/eval

Writes responses.jsonl (each model's responses), comparisons.jsonl (every judgement), results.json
and report.html. People judge in a second pass: give responses.jsonl to labelers, then run again
with `--responses`, `--comparisons` and `--ratings`. From Python, any `Labeler` or `Judge` can be
passed.

A reward model is a judge with known flaws, and the policy was trained on it, so its win rates are
reported under its own name, never as people's preference.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.engines.sampling import draw_responses, say_if_none_ended
from understudy.evaluation.benchmarks import ITEMS, run_all, write_items
from understudy.evaluation.bestofn import kl_bound, pick_best
from understudy.evaluation.compare import (
    Comparer,
    ScoreComparer,
    first_shown_rate,
    gold_comparer,
    head_to_head,
    judge_responses,
    likert_by_model,
    means_by_model,
    rate_responses,
    score_by_model,
    win_rate_table,
)
from understudy.evaluation.config import EvaluateConfig, model_folders
from understudy.evaluation.flags import (
    flags_table,
    judged,
    observations_of,
    rude_rates,
    with_prefix,
)
from understudy.evaluation.given import Given, read_given
from understudy.evaluation.model_judge import judge_results, votes_of
from understudy.evaluation.report import write_report
from understudy.evaluation.side_by_side import examples, gains_by_people, gains_by_score
from understudy.evaluation.statistics import Interval, win_rate
from understudy.evaluation.strata import Strata
from understudy.models.compute import place
from understudy.models.policies import load_policy, load_tokenizer
from understudy.models.scalar import check_scalar, load_scalar, score_texts
from understudy.models.text import text_loss
from understudy.records import (
    Comparison,
    Judge,
    Labeler,
    Prompt,
    Response,
    write_records,
)
from understudy.training.folder import read_record
from understudy.training.opening import open_run
from understudy.training.progress import Progress
from understudy.training.run import Run

"""The paper's respectful prefix (App. D)."""

Scores = Mapping[tuple[str, str, bool], float]
"""Score by prompt id, text and whether the model ended the response itself."""

OUTPUTS = ("responses.jsonl", "comparisons.jsonl", ITEMS)
"""The stage's outputs beside the files that every run has."""


def evaluate(
    config: EvaluateConfig,
    *,
    judges: Mapping[str, Sequence[Comparer]] | None = None,
    raters: Sequence[Labeler] = (),
    gold: Judge | None = None,
) -> Path:
    """Evaluate; returns the run folder.

    `judges` are groups of labelers by name; `raters` rate texts.
    """
    # 1. Read everything, so that bad input makes no folder and overwrites no earlier evaluation.
    given = _read(config)
    if config.overwrite:
        _remove_outputs(config.out)
    run = open_run(
        config.out,
        stage="evaluate",
        config=config,
        inputs=_inputs(config),
        seed=config.seed,
        overwrite=config.overwrite,
    )
    # 2. Each model's responses, at the sampling temperature and greedy.
    prompts = given.prompts
    sampled, measures = _responses_and_measures(config, given)
    write_records(run.dir / "responses.jsonl", sampled)
    write_items(run.dir, measures.pop("benchmark_items", {}))
    # 3. Who judges: people's files, the labelers and judges passed in, the reward model.
    scores = _reward_scores(config, config.reward_model, sampled)
    second = _reward_scores(config, config.second_reward_model, sampled)
    scorers = {"reward_model": scores, "second_reward_model": second}
    groups = _groups(judges or {}, gold, scorers)
    results: dict[str, Any] = {"baseline": config.baseline, "seed": config.seed, **measures}
    if all(prompt.split == "test" for prompt in prompts):
        results["users"] = "test_split"
    if given.strata is not None:
        results["strata"] = given.strata.to_json()
        results["caveats"] = given.strata.caveats()
    comparisons: list[Comparison] = []
    for style, responses in _by_style(config, sampled, scores).items():
        # 4. Head to head with the baseline (s3.6), Likert and flags (Table 3).
        judged_by = _head_to_head(config, given, responses, groups)
        table = {
            **win_rate_tables(judged_by, prompts, config.baseline, given.strata),
            **_ratings_table(config, given, responses, raters, gold),
            "answers": lengths(prompts, responses),
            **_mean_scores(prompts, responses, scorers),
        }
        if style == "sampled":
            results |= _model_judge(config, given)
            drawn_at = {r.temperature for r in responses if r.model == config.baseline}
            if len(drawn_at) == 1:
                results["temperature"] = drawn_at.pop()
            table["flags"] = merged(table.get("flags", {}), measures.get("flags", {}))
            results |= table
        else:
            results[style] = table
        comparisons += [c for group in judged_by.values() for c in group]
        if style == "sampled":
            comparisons += [c for pair in given.judged for c in (pair.one, pair.other)]
        if style == "sampled":
            results["examples"] = _examples(config, prompts, responses, judged_by, gold, scores)
    write_records(run.dir / "comparisons.jsonl", comparisons)
    _finish(run, config, given, results, comparisons)
    return run.dir


def win_rate_tables(
    judged_by: Mapping[str, Sequence[Comparison]],
    prompts: Sequence[Prompt],
    baseline: str,
    strata: Strata | None = None,
) -> dict[str, dict[str, Any]]:
    """Results keys: win_rates_vs_BASELINE by held-out labelers, with _GROUP for other judges."""
    suffix = {"held_out": "", "training": "_training_labelers"}
    return {
        f"win_rates_vs_{baseline}{suffix.get(group, f'_{group}')}": win_rate_table(
            comparisons, prompts, baseline, strata
        )
        for group, comparisons in judged_by.items()
        if comparisons
    }


def lengths(prompts: Sequence[Prompt], responses: Sequence[Response]) -> dict[str, dict[str, Any]]:
    """Model -> mean "words" per response, "ended", the share of responses that the model ended
    itself, and "words_if_ended", the mean of these."""
    words = [(r.model, r.prompt_id, float(len(r.response.split()))) for r in responses]
    ended = [(r.model, r.prompt_id, float(r.finished)) for r in responses]
    whole = [row for row, (*_, is_whole) in zip(words, ended, strict=True) if is_whole]
    rates, of_whole = means_by_model(ended, prompts, win_rate), means_by_model(whole, prompts)
    return {
        model: {"words": mean.to_json("mean"), "ended": rates[model].to_json()}
        | ({"words_if_ended": of_whole[model].to_json("mean")} if model in of_whole else {})
        for model, mean in means_by_model(words, prompts).items()
    }


def merged(
    flags: Mapping[str, Mapping[str, Any]], more: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Two tables of model -> flag -> rate, merged."""
    return {m: {**flags.get(m, {}), **more.get(m, {})} for m in dict.fromkeys([*flags, *more])}


def _examples(
    config: EvaluateConfig,
    prompts: Sequence[Prompt],
    responses: Sequence[Response],
    judged_by: Mapping[str, Sequence[Comparison]],
    gold: Judge | None,
    scores: Scores,
) -> list[dict[str, Any]]:
    """The most telling prompts by the gold judge, else by people, else by reward models."""
    by_gold = None if gold is None else lambda p, r: gold.score(p.prompt, r.response).total
    people = judged_by.get("held_out") or judged_by.get("training") or ()
    gains: Mapping[str, float] = {}
    if by_gold is not None:
        gains, by = gains_by_score(prompts, responses, by_gold, config.baseline), "gold"
    elif people:
        gains, by = gains_by_people(people, config.baseline), "share of wins"
    else:
        by = "the reward model"
        if scores:
            gains = gains_by_score(prompts, responses, _score_reader(scores), config.baseline)
    return examples(prompts, responses, gains, config.num_examples, by=by, gold=by_gold)


def _inputs(config: EvaluateConfig) -> dict[str, str | Path | None]:
    files = "prompts responses reward_model second_reward_model comparisons model_comparisons"
    names = f"{files} ratings text rude_words shares".split()
    inputs: dict[str, str | Path | None] = {name: getattr(config, name) for name in names}
    inputs |= {f"model {name}": folder for name, folder in model_folders(config.models).items()}
    return inputs | {f"benchmark {path.stem}": path for path in config.benchmarks}


def _read(config: EvaluateConfig) -> Given:
    """Read every file and check that every model exists; ValueError says what is wrong."""
    for name, path in _inputs(config).items():
        inside = path is not None and Path(path).resolve().is_relative_to(config.out.resolve())
        if config.overwrite and inside:
            raise ValueError(
                f"{name} {path} is in {config.out}, which would be overwritten; choose another "
                "--out"
            )
    given = read_given(
        prompts=config.prompts,
        responses=config.responses,
        comparisons=config.comparisons,
        model_comparisons=config.model_comparisons,
        ratings=config.ratings,
        benchmarks=config.benchmarks,
        text=config.text,
        rude_words=config.rude_words,
        strata=config.strata,
        shares=config.shares,
    )
    if config.responses is not None:
        _check_baseline(config, given.responses)
    if _asks_models(config):
        for folder in model_folders(config.models).values():
            load_tokenizer(folder)
    for scorer in (config.reward_model, config.second_reward_model):
        if scorer is not None:
            check_scalar(scorer)
    return given


def _asks_models(config: EvaluateConfig) -> bool:
    """Whether the models themselves are needed, not only their earlier responses."""
    return config.responses is None or bool(config.benchmarks) or config.text is not None


def _responses_and_measures(
    config: EvaluateConfig, given: Given
) -> tuple[list[Response], dict[str, Any]]:
    """All responses, and measurements of the models themselves; one model in memory at a time."""
    prompts, words, texts = given.prompts, given.words, given.texts
    benchmarks, sampled = given.benchmarks, list(given.responses)
    polite = [with_prefix(prompt, config.respectful_prefix) for prompt in prompts]
    tables: dict[str, Any] = defaultdict(dict)
    for name, folder in model_folders(config.models).items():
        if not _asks_models(config):
            continue
        model, tokenizer = load_policy(folder)
        place(model, config, frozen=True)
        if config.responses is None:
            sampled += _draw(config, model, tokenizer, prompts, name)
        if words:
            polite_responses = draw_responses(
                model, tokenizer, polite, num_samples=1, temperature=config.temperature,
                seed=config.seed, max_new_tokens=config.max_response_tokens, model_name=name,
            )  # fmt: skip
            tables["rude"][name] = (polite_responses, polite)
        if benchmarks:
            found = run_all(model, tokenizer, benchmarks)
            tables["benchmarks"][name], tables["benchmark_items"][name] = found
        if texts is not None:
            tables["pretraining_loss"][name] = text_loss(model, tokenizer, texts)
    if words:
        tables["flags"] = _rude_flags(config, prompts, sampled, tables.pop("rude"), words)
    return sampled, dict(tables)


def _draw(
    config: EvaluateConfig, model: Any, tokenizer: Any, prompts: Sequence[Prompt], name: str
) -> list[Response]:
    """A model's responses; the baseline's second sample and best-of-n pool as separate models."""
    extra = {f"{name}_null": int(config.null_check), f"{name}_pool": config.best_of}
    extra = {key: number for key, number in extra.items() if name == config.baseline and number}
    draws = 1 + config.greedy + sum(extra.values())
    with Progress(len(prompts) * draws, f"Responses of {name}") as progress:
        shared: dict[str, Any] = {
            "max_new_tokens": config.max_response_tokens,
            "temperature": config.temperature,
            "on_end": progress.advance,
        }
        responses = draw_responses(
            model, tokenizer, prompts, num_samples=1, seed=config.seed, model_name=name, **shared
        )
        say_if_none_ended(responses, tokenizer, config.max_response_tokens)
        if config.greedy:
            responses += draw_responses(
                model, tokenizer, prompts, num_samples=1, seed=config.seed, model_name=name,
                greedy=True, **shared,
            )  # fmt: skip
        for extra_name, number in extra.items():
            offset = 2 if extra_name.endswith("_pool") else 1
            responses += draw_responses(
                model, tokenizer, prompts, num_samples=number, seed=config.seed + offset,
                model_name=extra_name, **shared,
            )  # fmt: skip
    return responses


def _reward_scores(
    config: EvaluateConfig, folder: Path | None, responses: Sequence[Response]
) -> Scores:
    """A reward model's score of each distinct response; empty without a reward model."""
    if folder is None:
        return {}
    model, tokenizer = load_scalar(folder)
    place(model, config, frozen=True)
    unique = {_score_key(r): r for r in responses}
    kept = list(unique.values())
    scores = score_texts(
        model,
        tokenizer,
        [r.prompt for r in kept],
        [r.response for r in kept],
        finished=[r.finished for r in kept],
    )
    return dict(zip(unique, scores, strict=True))


def _mean_scores(
    prompts: Sequence[Prompt], responses: Sequence[Response], scorers: Mapping[str, Scores]
) -> dict[str, dict[str, Any]]:
    """Results keys score_REWARD_MODEL: the mean score of each model's responses."""
    return {
        f"score_{name}": _json(
            means_by_model(
                [(r.model, r.prompt_id, scores[_score_key(r)]) for r in responses], prompts
            ),
            "mean",
        )
        for name, scores in scorers.items()
        if scores
    }


def _score_key(response: Response) -> tuple[str, str, bool]:
    return response.prompt_id, response.response, response.finished


def _groups(
    judges: Mapping[str, Sequence[Comparer]], gold: Judge | None, scorers: Mapping[str, Scores]
) -> dict[str, Sequence[Comparer]]:
    groups = dict(judges)
    if gold is not None:
        groups["gold"] = [gold_comparer(gold)]
    for name, scores in scorers.items():
        if scores:
            groups[name] = [ScoreComparer(name, _score_reader(scores))]
    return groups


def _score_reader(scores: Scores) -> Callable[[Prompt, Response], float]:
    return lambda prompt, response: scores[_score_key(response)]


def _by_style(
    config: EvaluateConfig, responses: Sequence[Response], scores: Scores
) -> dict[str, list[Response]]:
    """Responses to judge, by style: sampled (with best-of-n, chosen from its pool), and greedy."""
    pool_name = f"{config.baseline}_pool"
    sampled = [r for r in responses if r.temperature > 0 and r.model != pool_name]
    if config.best_of:
        pool = [r for r in responses if r.model == pool_name]
        sampled += pick_best(
            pool, [scores[_score_key(r)] for r in pool], config.best_of, "best_of_n"
        )
    greedy = [r for r in responses if r.temperature == 0]
    return {name: rows for name, rows in (("sampled", sampled), ("greedy", greedy)) if rows}


def _head_to_head(
    config: EvaluateConfig,
    given: Given,
    responses: Sequence[Response],
    groups: Mapping[str, Sequence[Comparer]],
) -> dict[str, list[Comparison]]:
    """Comparisons per judge group; those in people's file come under their roles."""
    by_model: dict[str, list[Response]] = defaultdict(list)
    for response in responses:
        by_model[response.model].append(response)
    _check_baseline(config, responses)
    baseline = by_model.pop(config.baseline)
    judged_by = head_to_head(given.prompts, by_model, baseline, groups, seed=config.seed)
    greedy = responses[0].temperature == 0
    if not greedy:
        for comparison in given.comparisons:
            judged_by.setdefault(comparison.labeler_role, []).append(comparison)
    return judged_by


def _model_judge(config: EvaluateConfig, given: Given) -> dict[str, Any]:
    """Results of a model as judge, and how far people agree with it."""
    if not given.judged:
        return {}
    votes = votes_of(given.comparisons)
    return judge_results(given.judged, votes, given.prompts, config.baseline)


def _check_baseline(config: EvaluateConfig, responses: Sequence[Response]) -> None:
    if not any(response.model == config.baseline for response in responses):
        raise ValueError(f"no response is by the baseline {config.baseline!r}")


def _ratings_table(
    config: EvaluateConfig,
    given: Given,
    responses: Sequence[Response],
    raters: Sequence[Labeler],
    gold: Judge | None,
) -> dict[str, Any]:
    """Likert and flags by labelers; gold scores, and gold flags where there is a gold judge."""
    table: dict[str, Any] = {}
    prompts = given.prompts
    ratings = rate_responses(prompts, responses, raters, seed=config.seed) if raters else []
    ids = {response.id for response in responses}
    ratings += [rating for rating in given.ratings if rating.response_id in ids]
    if ratings:
        table["likert"] = _json(likert_by_model(ratings, responses, prompts), "mean")
        table |= flags_table(observations_of(ratings, responses), prompts)
    if gold is not None:
        judgments = judge_responses(prompts, responses, gold)
        totals = {id: judgment.total for id, judgment in judgments.items()}
        table["gold"] = _json(score_by_model(totals, responses, prompts), "mean")
        if table.get("flags"):
            table["flags_by_labelers"] = table["flags"]
        table |= flags_table(judged(judgments, responses), prompts)
    return table


def _rude_flags(
    config: EvaluateConfig,
    prompts: Sequence[Prompt],
    sampled: Sequence[Response],
    polite: Mapping[str, tuple[list[Response], list[Prompt]]],
    words: Sequence[str],
) -> dict[str, dict[str, Any]]:
    plain = [r for r in sampled if r.temperature > 0 and not r.model.endswith(("_null", "_pool"))]
    flags: dict[str, dict[str, Any]] = defaultdict(dict)
    for model, interval in rude_rates(plain, words, prompts).items():
        flags[model]["rude_plain"] = interval.to_json()
    for responses, asked in polite.values():
        for model, interval in rude_rates(responses, words, asked).items():
            flags[model]["rude_respectful_prefix"] = interval.to_json()
    return dict(flags)


def _finish(
    run: Run,
    config: EvaluateConfig,
    given: Given,
    results: dict[str, Any],
    comparisons: Sequence[Comparison],
) -> None:
    """Write results.json and the report made from it."""
    by_people = [one for one in comparisons if one.labeler_role != "model"]
    if by_people:
        results["first_shown"] = first_shown_rate(by_people).to_json()
    if config.best_of:
        results["best_of_n"] = {str(config.best_of): {"kl": kl_bound(config.best_of)}}
    results |= {
        "code_version": run.record["code_version"],
        "settings": {"evaluate": run.record["config"]},
        "data": {"prompts": len(given.prompts)},
    }
    run.finish(results)
    write_report(run.results, run.dir / "report.html")


def _remove_outputs(folder: Path) -> None:
    """Remove an earlier evaluation's own files, if `folder` is one."""
    record = read_record(folder)
    if record is not None and record["stage"] == "evaluate":
        for name in OUTPUTS:
            (folder / name).unlink(missing_ok=True)


def _json(intervals: Mapping[str, Interval], name: str = "rate") -> dict[str, Any]:
    return {model: interval.to_json(name) for model, interval in intervals.items()}
