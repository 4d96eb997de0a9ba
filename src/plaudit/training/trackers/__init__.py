"""Where a run's figures go beside metrics.jsonl, when the user asks: see `base`."""
