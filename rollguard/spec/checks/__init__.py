"""What is wrong between the keys of a rollout file."""
