"""isotape: a self-hosted room server whose purpose is the recording.

ARCHITECTURE.md tells the story of a packet and says what stands where.
"""
