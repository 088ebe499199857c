"""Helpers with which the parts of the demo's plan add their stages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.loop.plan import Artifact, Stage
from understudy.loop.recipe import Recipe

STAGES = "understudy.loop.stages"


class Build:
    """Collects stages; each part of the plan adds its own."""

    def __init__(self, recipe: Recipe, seed: int, label: int) -> None:
        self.recipe, self.seed, self.label = recipe, seed, label
        self.stages: dict[str, Stage] = {}

    def add(
        self,
        name: str,
        meaning: str,
        function: str,
        outputs: tuple[str, ...],
        inputs: Mapping[str, Any],
        /,
        *,
        group: str = "",
        **config: Any,
    ) -> None:
        """Add a stage; every stage gets the seed."""
        self.stages[name] = Stage(
            name=name,
            meaning=meaning,
            function=f"{STAGES}.{function}",
            inputs=inputs,
            outputs=outputs,
            config={"seed": self.seed, **config},
            seconds=float(self.recipe.seconds.get(group or name, 5.0)),
            group=group,
        )

    def __getitem__(self, reference: str) -> Artifact:
        """`build["sft/run/model"]`: output run/model of stage sft."""
        stage, _, output = reference.partition("/")
        return self.stages[stage].output(output)

    def base(self, size: str) -> Path:
        """The packaged base model of this size, or the folder given instead."""
        from understudy.world.bases import base_model_path, base_sizes

        if size not in base_sizes() and Path(size).is_dir():
            return Path(size)
        return base_model_path(size)


def add_responses(
    build: Build,
    stage: str,
    meaning: str,
    *,
    model: Any,
    prompts: Any,
    prefix: Any = None,
    group: str = "",
    **config: Any,
) -> None:
    """A stage in which a model responds to prompts."""
    inputs = {"model": model, "prompts": prompts}
    if prefix is not None:
        inputs["prefix"] = prefix
    build.add(
        stage,
        meaning,
        "responses:respond",
        ("responses.jsonl",),
        inputs,
        group=group,
        **{"max_response_tokens": build.recipe.evaluate.max_response_tokens, **config},
    )
