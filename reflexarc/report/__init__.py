"""The report of the demo: plots, films and one page that needs nothing but a browser."""
