"""The table of ``conformance.md``: what arrives, and what must happen; and what a client keeps to.

Each row has a test that is named for it, ``test_row_`` or ``test_client_``, and whose docstring begins with its text.
"""

from __future__ import annotations

ROWS = {
    "version_or_length": "version other than 1, or shorter than 4 octets: silence",
    "token_length": "token length 9 to 15: RST for CON, silence for NON",
    "format_error": "payload marker with nothing behind it; option delta or length nibble 15; truncated option; code 0.00 with "
    "anything behind the header: message format error",
    "reserved_class": "code class 1, 6, 7: message format error",
    "ping": "empty CON (ping): RST",
    "unknown_critical_option_in_a_request": "unknown critical option in a request: 4.02 with the option number in the "
    "diagnostic payload; NON: reject",
    "unknown_critical_option_in_a_response": "unknown critical option in a response: RST for CON, drop for NON; the request "
    "fails with an error that names the option",
    "wrong_length_elective": "option value with a wrong length, elective: ignored",
    "wrong_length_critical": "option value with a wrong length, critical: 4.02",
    "surplus_option": "second instance of a non-repeatable option: critical 4.02, elective ignored",
    "invalid_utf8": "invalid UTF-8 in a string option: 4.02 for critical Uri-Path, Uri-Host, Uri-Query",
    "proxy": "Proxy-Uri or Proxy-Scheme at a server that is no proxy: 5.05",
    "unknown_method": "unknown method: 4.05",
    "content_format_and_accept": "Content-Format not handled, Accept not available: 4.15, 4.06",
    "duplicate": "duplicate CON or NON: the same octets again, the handler ran once",
    "acknowledgement_of_another_remote": "ACK or RST from another remote than the one the message went to: ignored, counted",
    "response_with_an_unknown_token": "CON response with an unknown token: RST",
    "block1_gap": "Block1 gap or wrong order: 4.08",
    "block1_repeated_block": "Block1 repeated block (same number, same content): answered again as before",
    "block1_short_block": "Block1 not final and shorter than its size: 4.00",
    "szx_7": "szx 7 over a datagram transport: 4.00",
    "block1_above_the_limit": "Block1 body above the limit of the resource: 4.13 with Size1 and the size that it would take",
    "notification_larger_than_a_block": "notification larger than a block: first block in the notification, the rest by GET "
    "with Block2",
    "reset_of_a_notification": "RST to a notification, also to a NON one: observation ends, its handler task is cancelled",
    "notifications": "notifications: at least one CON in 24 hours and after every few NON; a newer state replaces one that "
    "waits; Observe number rises over re-registration too",
    "multicast": (
        "request to a multicast group: no RST, no error responses unless asked, leisure delay, NON response from a "
        "unicast address"
    ),
    "no_response": "No-Response: obeyed",
}
"""What arrives at a server, and what must happen."""

ITEMS = {
    "tokens": "tokens are unpredictable",
    "message_ids": "a message ID is not used again for a remote within its lifetime",
    "nstart": "NSTART (1) holds per remote",
    "probing_rate": "PROBING_RATE holds per remote",
    "matching": "a response is bound to remote and token",
    "echo": "4.01 with Echo is answered by the same request with the Echo",
    "smaller_blocks": "4.13 with a block size leads to a retry with smaller blocks",
    "request_tag": "Request-Tag on concurrent Block1 bodies",
    "etag": "the ETag of a block-wise body must stay the same, or the transfer starts again",
}
"""What a client keeps to."""

VIRTUAL_ONLY = {
    "test_row_notifications_within_a_day": "it takes a day",
    "test_row_multicast": "the loopback interface has no groups, and how leisure spreads takes many seconds to see; the rest "
    "of the row is asked over real sockets in tests/namespaces/test_group_requests.py",
}
"""Tests that do not run over real sockets, and why."""

WITHOUT_NETWORK = {
    "test_client_message_ids": "message IDs run out after 65,536 messages, and come back after four minutes: that is asked of "
    "the engine alone, whose clock is a number",
}
"""Tests that need no network, virtual or real, and why."""
