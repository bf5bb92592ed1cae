"""What runs a network, whatever the method that trained it."""
