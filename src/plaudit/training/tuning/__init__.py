"""Search for good options of a training verb: `plan` reads what is asked, `study` runs it, `page` is the report."""
