"""One loop and one learner for every algorithm; checkpoints that survive anything."""
