"""The benchmarks' figures of an adapter."""
