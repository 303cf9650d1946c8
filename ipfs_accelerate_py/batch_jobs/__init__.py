"""Batch jobs: many requests handed in at once, through a provider's batch API or through the client's own calls.

``face`` has the verbs, ``making`` begins jobs, ``items`` reads requests, ``manifest`` and ``spool`` keep on disk what a
job is and what came of it; ``provider`` (with ``planning`` and ``asking``) and ``calls`` are the two ways to have it
done, and ``job`` is what callers see. Nothing but ``face`` is imported before a batch is made.
"""
