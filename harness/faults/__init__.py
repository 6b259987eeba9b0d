"""What is done to a victim, how it is proven, and how it is undone. Knows nothing of EMCO."""
