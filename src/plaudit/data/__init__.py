"""From files to batches: readers, chat templates, encoding, collating, splitting, checking, packing."""
