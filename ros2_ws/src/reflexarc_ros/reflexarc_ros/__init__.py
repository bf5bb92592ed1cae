"""ROS 2 nodes of Reflexarc: thin lifecycle wrappers around the ROS-free rooms."""
