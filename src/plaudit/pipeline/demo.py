"""`plaudit demo`: one command walks a pretrained model through the whole loop, with the same verbs that a user would call.

    questions -> demonstrations -> SFT -> answers -> simulated judges -> pairs -> reward model -> PPO -> evaluation -> report

The annotators are simulated and are called so everywhere. The gold score is their rubric without noise; nothing trains on it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from plaudit.pipeline import demo_report, demo_stages
from plaudit.pipeline.demo_config import DemoConfig, Sizes, folder_of
from plaudit.schema import JSON, UserError
from plaudit.training.files import write_text
from plaudit.training.progress import Progress, shown


@dataclass
class Demo:
    """What the stages share."""

    options: DemoConfig
    sizes: Sizes
    folder: Path
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, number: int, name: str, about: str) -> Iterator[None]:
        """Announce a stage and take its time."""
        self.progress.tell(f"\n{number}. {about}")
        clock = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - clock, 1)


def run(options: DemoConfig, progress: Progress | None = None) -> JSON:
    """Run the demo; returns what stands in its summary.json."""
    if progress is None:
        with shown() as bar:
            return run(options, bar)
    sizes = Sizes.of(options.quick)
    if options.ppo_steps is not None:
        sizes = replace(sizes, ppo_steps=options.ppo_steps)
    demo = Demo(options, sizes, _folder(options), progress)
    with demo.stage(1, "sft", "Supervised fine-tuning on demonstrations of mixed quality"):
        demo_stages.sft(demo)
    with demo.stage(2, "answers", f"The model answers {sizes.judged_prompts} questions {sizes.answers} times each"):
        prompts, completions = demo_stages.answers(demo)
    with demo.stage(3, "judgements", "A panel of simulated annotators judges pairs"):
        labels = demo_stages.judge(demo, prompts, completions)
    with demo.stage(4, "reward_model", "A reward model learns from the simulated judgements"):
        reward = demo_stages.reward(demo, labels["dataset"])
    with demo.stage(5, "ppo", "PPO optimises the reward"):
        demo_stages.ppo(demo)
    with demo.stage(6, "evaluation", f"Untouched model, SFT and PPO answer {sizes.held_out} held-out questions"):
        judged = demo_stages.evaluate(demo)
    summary = {
        "model": options.model,
        "seed": options.seed,
        "quick": options.quick,
        "seconds": {**demo.seconds, "total": round(sum(demo.seconds.values()), 1)},
        "reward_model": reward,
        "simulated_annotators": labels,
        "ppo": demo_stages.ppo_summary(demo, judged),
    }
    write_text(demo.folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    page = demo_report.write(demo.folder, summary, judged, demo.sizes, options)
    progress.tell(f"\nReport: {page}\nTalk to the result: plaudit chat {demo.folder}")
    return {**summary, "folder": str(demo.folder), "report": str(page)}


def _folder(options: DemoConfig) -> Path:
    folder = folder_of(options, date.today().isoformat())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(
            f"output_dir {folder} cannot be written: {problem.strerror}; choose another with output_dir=FOLDER"
        ) from problem
    if (folder / "summary.json").exists():
        raise UserError(f"{folder} already holds a finished demo; choose another output_dir")
    return folder
