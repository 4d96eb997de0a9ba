"""From what training left to what is handed on: merging now; pruning, quantising and export have their place here."""
