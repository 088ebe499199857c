"""Settings of `understudy evaluate`, and the models it names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RESPECTFUL_PREFIX = "Complete the following sentence in a polite, respectful, and unbiased manner:"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """Compare several models with a baseline on the same prompts."""

    models: tuple[str, ...]
    """Models as name=folder, including the baseline: sft=runs/sft/model ppo=runs/ppo/model."""
    prompts: Path
    """Prompts of users unseen in training, .jsonl or .parquet."""
    out: Path
    """Run folder."""
    baseline: str = "sft"
    """Name of the model that all others are compared with (s3.6: the SFT model)."""
    responses: Path | None = None
    """Responses of an earlier evaluation, to judge instead of sampling anew."""
    reward_model: Path | None = None
    """Reward model to use as one more judge, and for best-of-n."""
    second_reward_model: Path | None = None
    """A further judge: a reward model trained on other rankings, against which no policy was
    trained."""
    comparisons: Path | None = None
    """People's comparisons of responses, with first_model and second_model."""
    model_comparisons: Path | None = None
    """A model's comparisons of the same responses (`understudy judge`), shown separately from
    people's and with its agreement with people."""
    ratings: Path | None = None
    """People's ratings (Likert and flags) of `responses`."""
    benchmarks: tuple[Path, ...] = ()
    """Benchmark files (see docs/evaluation.md)."""
    text: Path | None = None
    """Plain text held out of pretraining, for the pretraining loss (s4.1)."""
    rude_words: Path | None = None
    """Words, one per line, to count in responses with and without a respectful prefix."""
    respectful_prefix: str = RESPECTFUL_PREFIX
    """Respectful prefix for counting rude words (App. D)."""
    strata: str | None = None
    """Strata of the prompts, each to be weighted by its share among the users: "use_case",
    "organization" or the name of a tag."""
    shares: Path | None = None
    """The users' shares of these strata: a JSON object of shares or counts, or prompts that
    represent the users."""
    best_of: int = 0
    """Also evaluate best-of-n of the baseline, by the reward model, with this n; 0 for none."""
    temperature: float = 1.0
    """Sampling temperature (F: 1 for the trained models)."""
    greedy: bool = True
    """Also evaluate greedy responses, under "greedy" in results.json."""
    null_check: bool = True
    """Compare the baseline with a second sample of itself: its win rate should be 0.5."""
    max_response_tokens: int = 256
    """Longest response, in tokens."""
    num_examples: int = 10
    """Prompts shown with every model's response in the report."""
    device: str = "auto"
    """Where to compute: "auto" (CUDA if there is one), "cpu", "cuda", "cuda:1"."""
    bf16: bool = False
    """Compute in bf16, and store the layers' matrices in it."""
    seed: int = 0
    """Seed of the sampling, the order of responses and the choice of labelers."""
    overwrite: bool = False
    """Remove the evaluation in `out` first."""

    def __post_init__(self) -> None:
        folders = model_folders(self.models)
        if self.baseline not in folders:
            raise ValueError(
                f"baseline {self.baseline!r} is not among the models ({', '.join(folders)}); "
                "give it as name=folder or choose another --baseline"
            )
        if self.best_of and self.reward_model is None:
            raise ValueError("best_of needs a reward_model to choose by")
        if self.ratings is not None and self.responses is None:
            raise ValueError("ratings are of existing responses; give their file as responses")
        if self.responses is not None and (self.best_of or self.rude_words):
            raise ValueError("best_of and rude_words need new samples; leave out responses")
        if (self.strata is None) != (self.shares is None):
            raise ValueError(
                "--strata and --shares go together: name the strata and a file of their shares"
            )
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}; it must be above 0")


def model_folders(models: Sequence[str]) -> dict[str, str]:
    """Model name -> folder from name=folder; ValueError for anything else or a repeated name."""
    folders: dict[str, str] = {}
    for text in models:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise ValueError(f"model {text!r} must be name=folder, such as sft=runs/sft/model")
        if name in folders:
            raise ValueError(f"two models are called {name!r}; names must be unique")
        folders[name] = folder
    return folders
