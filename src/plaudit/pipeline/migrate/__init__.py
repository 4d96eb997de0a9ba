"""Configs of other tools as projects of ours: `sources` reads them, `tables` say what a name means here, `writing` writes."""
