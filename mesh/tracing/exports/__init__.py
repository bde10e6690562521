"""What a collector tells to other systems."""
