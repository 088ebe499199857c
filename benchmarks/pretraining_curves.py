"""Draw docs/pretraining.svg: loss and benchmarks of the shipped base models over pretraining.

.venv/bin/python benchmarks/pretraining_curves.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from understudy.world.bases import base_sizes, training_curve

COLORS = {"200k": "#4c78a8", "1m": "#e45756", "3m": "#54a24b"}
PANELS = ("valid_loss", "reading", "facts", "zog")


def main() -> None:
    figure, axes = plt.subplots(1, len(PANELS), figsize=(11, 2.8), layout="constrained")
    for axis, name in zip(axes, PANELS, strict=True):
        for size in base_sizes():
            rows = training_curve(size)
            millions = [row["tokens"] / 1e6 for row in rows]
            axis.plot(millions, [row[name] for row in rows], label=size, color=COLORS.get(size))
        axis.set_title("loss on held-out pages" if name == "valid_loss" else f"{name}, exact")
        axis.set_xlabel("tokens read, millions")
        if name != "valid_loss":
            axis.set_ylim(-0.02, 1.02)
    axes[0].legend(frameon=False)
    plt.rcParams["svg.hashsalt"] = "understudy"
    out = Path(__file__).parent.parent / "docs" / "pretraining.svg"
    figure.savefig(out, metadata={"Date": None})
    for size in base_sizes():
        print(size, training_curve(size)[-1])
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
