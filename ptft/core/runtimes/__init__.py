"""Models in the files of other runtimes, used where our code uses a torch model: ONNX graphs and GGUF files."""
