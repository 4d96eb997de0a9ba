"""Models: loading, heads, adapters, the memory-lean forward."""
