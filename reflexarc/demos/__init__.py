"""What `reflexarc demo` shows: its stages, what they measure and what they must reach."""
