"""What people look at, drawn from stored records alone: no model, no dataset, no TensorFlow."""
