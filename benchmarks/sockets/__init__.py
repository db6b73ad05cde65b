"""What the benchmarks of the event socket share: lean clients, a feeder that plays the worker, other ways to do it."""
