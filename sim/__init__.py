"""The digital twin: worlds, tasks, experts, wire peers and evaluation. Knows no policy and no ROS."""
