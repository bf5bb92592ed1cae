"""MuJoCo worlds and offscreen rendering."""
