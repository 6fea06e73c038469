"""Show which pixels a decision depends on, and check the method that says so."""
