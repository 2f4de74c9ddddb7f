"""The message layer: reliability, duplicates, congestion control, without I/O (:rfc:`7252` section 4)."""
