"""The network on TensorRT, and the engines that it runs."""
