"""What the benches share: who is compared, how a round is run, how ratios are told."""
