"""Speed and memory side by side with other libraries on the same work, and how far from what the machine could do."""
