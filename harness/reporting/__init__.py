"""What people and machines get to see of a run: summary, tables, baseline, comparison, sign-off page, labels."""
