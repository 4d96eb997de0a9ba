"""A project's stages with their cache, and the demo."""
