"""Values of CoAP and their encoding: codes, options, messages, URIs (RFC 7252 sections 3, 5.10, 6, 12)."""
