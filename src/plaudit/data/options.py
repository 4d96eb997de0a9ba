"""How files are read: the options that training and `plaudit data` share."""

from __future__ import annotations

from typing import Any

from plaudit.config import config


@config
class ReadConfig:
    """How data files are read."""

    dataset_format: str = "auto"
    """Layout of the rows: auto looks at them; trl, sharegpt, alpaca, hh_rlhf, open_assistant and others force one."""
    dataset_columns: dict[str, str] | None = None
    """Our name of a column -> the file's name of it, as in {prompt: question, completion: answer}."""
    dataset: str | None = None
    """Name in the folder's dataset_info.json (LLaMA-Factory)."""
    dataset_split: str | None = None
    """Files of a folder whose name starts with this, as in train-00000.parquet."""
    score_margin: bool = False
    """Pairs made of scored answers get the difference of their scores as margin."""

    skip_refused_rows: bool = False
    """Rows with content that cannot be read are left out and counted; a file that is broken ends the command all the same."""

    def part(self, given: Any) -> Any:
        """A path with the data set's name and split, as `read` takes it; a list or mapping as it is."""
        if isinstance(given, (list, dict, tuple)) or (self.dataset is None and self.dataset_split is None):
            return given
        return {"path": str(given), "dataset": self.dataset, "split": self.dataset_split}

    def keywords(self) -> dict[str, Any]:
        """What `read` takes by name."""
        return {
            "dataset_format": self.dataset_format,
            "columns": self.dataset_columns,
            "score_margin": self.score_margin,
            "skip_refused": self.skip_refused_rows,
        }
