"""What `./dev bench peers` is made of: candidates (the servers), workloads (what they are asked),
load (one measurement), rounds (which when, and ratios), report (table, JSON, plot)."""
