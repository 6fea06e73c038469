"""Reports drawn from stored records alone: no model, no dataset, no TensorFlow."""
