"""Wire peers: processes that speak a real robot's protocol, for development and tests without hardware."""
