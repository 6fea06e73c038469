"""Search a dataset for what ruins figures: duplicates, leakage, bad images, doubtful labels."""
