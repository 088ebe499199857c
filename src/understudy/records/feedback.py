"""Feedback, the binary kind of label, from rankings and from ratings."""

from understudy.records.schema import Feedback, Ranking, Rating, Response


def of_ranking(ranking: Ranking) -> list[Feedback]:
    """The best responses as desirable, the worst as undesirable; those between them are left out.

    A ranking of two becomes what the KTO paper makes of a pair. A ranking whose responses all tie
    becomes nothing.

    >>> ranking = Ranking(id="k1", prompt_id="p1", prompt="Name a prime.", labeler_id="l1",
    ...                   responses=("8", "7", "9"), tiers=((1,), (2,), (0,)))
    >>> [(feedback.response, feedback.desirable) for feedback in of_ranking(ranking)]
    [('7', True), ('8', False)]
    """
    if len(ranking.tiers) < 2:
        return []
    best, worst = ranking.tiers[0], ranking.tiers[-1]
    return [
        Feedback(
            id=f"{ranking.id}-{index}",
            prompt_id=ranking.prompt_id,
            prompt=ranking.prompt,
            response=ranking.responses[index],
            desirable=index in best,
            labeler_id=ranking.labeler_id,
            labeler_role=ranking.labeler_role,
            split=ranking.split,
        )
        for index in (*best, *worst)
    ]


def of_rating(rating: Rating, response: Response, least: int) -> Feedback:
    """The response that was rated, desirable if its Likert rating is at least `least`."""
    return Feedback(
        id=rating.id,
        prompt_id=response.prompt_id,
        prompt=response.prompt,
        response=response.response,
        desirable=rating.likert >= least,
        labeler_id=rating.labeler_id,
    )
