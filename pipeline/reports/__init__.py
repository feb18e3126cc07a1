"""Reports of runs: reading them, comparing them, and what their readers shall not see."""
