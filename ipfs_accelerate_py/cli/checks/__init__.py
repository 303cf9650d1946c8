"""What ``ipfs-accelerate check`` does: true round trips, each judged by what it brought back."""
