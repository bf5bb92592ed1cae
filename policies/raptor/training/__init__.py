"""Training of RAPTOR: one teacher for every airframe, then one student for all of them."""
