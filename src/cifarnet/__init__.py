"""Train, evaluate and export CIFAR-10 image classifiers from YAML configs."""

import os

# Read once, when these libraries are first imported. cifarnet's graph code needs TensorFlow.
os.environ["KERAS_BACKEND"] = "tensorflow"
# TensorFlow turns oneDNN's kernels on for some processors only. Where it did not, a step of
# configs/baseline.yaml took 1.8 times as long (2 cores of an AMD EPYC, Zen 3, float32).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # keeps start-up notices off the console
