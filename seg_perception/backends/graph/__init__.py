"""A model's ONNX graph in other types: for storage, for a precision."""
