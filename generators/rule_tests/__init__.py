"""promtool tests of rendered rules: cases, what follows from them, coverage, notation of series."""
