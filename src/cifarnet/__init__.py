"""Train, evaluate and export CIFAR-10 image classifiers from YAML configs."""

import os

# Read once, when these libraries are first imported. cifarnet's graph code needs TensorFlow.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # keeps start-up notices off the console
