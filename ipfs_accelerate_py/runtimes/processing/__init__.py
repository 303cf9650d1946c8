"""What a task does before and after the forward pass: one class a task, found by the task's name."""
