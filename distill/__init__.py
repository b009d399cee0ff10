"""The encoder's training, one readable script a stage; see LOG.md for what was tried."""
