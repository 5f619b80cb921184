"""What the benchmarks of the edge share: its peers, how they are driven, and what their processes cost."""
