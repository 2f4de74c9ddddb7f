"""CoAP over UDP: one socket for client, server and both address families."""
