"""Generation: what turns prompts and weights into completions with their sampled ids and log-probabilities."""
