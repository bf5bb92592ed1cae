"""What the doctor looks at: each module gathers facts, and judges facts that it is given."""
