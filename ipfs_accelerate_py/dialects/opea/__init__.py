"""OPEA's wire format."""
