"""What a run keeps: its folder, its values as JSON, and no secret in any of it. Knows nothing of EMCO."""
