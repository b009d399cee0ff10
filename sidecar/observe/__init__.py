"""What the sidecar tells of itself: metrics, spans, logs, the decision log, drift."""
