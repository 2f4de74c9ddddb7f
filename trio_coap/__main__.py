"""``python -m trio_coap`` is the ``coap`` command."""

import sys

from trio_coap.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
