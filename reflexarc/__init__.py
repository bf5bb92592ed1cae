"""The command line: `reflexarc demo | up | train | eval | doctor | bench | export`."""
