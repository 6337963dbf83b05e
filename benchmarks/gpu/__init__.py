"""Every claim about speed and memory on a GPU, measured by one command: `python -m benchmarks.gpu`."""
