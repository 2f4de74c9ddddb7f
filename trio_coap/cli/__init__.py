"""The ``coap`` command, one module for each thing that it does; :mod:`trio_coap.cli.main` is where it starts."""
