"""What `./dev bench peers` and `./dev bench ablation` are made of: candidates (the servers),
workloads (what they are asked), load (one measurement), rounds (which when, and ratios), running (a
workload with its candidates), report (table, JSON, plot); ablations (what is taken out), variants
(the servers without it), instructions (counted by valgrind); echoes (echo
servers on event loops, and their client)."""
