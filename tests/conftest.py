"""What the tests of this repository share."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

import trio_coap.testing.plugin

# How long an example takes depends on what else the machine does.  In CI a run must not depend on luck either.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_configure(config: pytest.Config) -> None:
    """Load the plugin of this package where its entry point is not installed."""
    plugin = trio_coap.testing.plugin
    if not config.pluginmanager.is_registered(plugin):
        config.pluginmanager.register(plugin, "trio_coap")
