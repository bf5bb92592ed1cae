"""Position control by hand-written laws: the yardstick for learned ones, and what flies without any."""
