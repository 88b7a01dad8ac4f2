"""promtool and amtool: found on the machine, asked, and their answers read."""
