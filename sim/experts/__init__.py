"""Scripted experts and the demonstrations that they give."""
