"""
The settings: one flat frozen type, and the only place that reads environment and files for it.

`model` is the type and what each role needs, `sources` what was given, `values` how one
text is read.
"""

from consumer.settings.model import (
    Address,
    NoListener,
    Role,
    SettingRow,
    Settings,
    env_name,
    load_settings,
    mistakes_for,
    read_token_secrets,
)

__all__ = [
    "Address",
    "NoListener",
    "Role",
    "SettingRow",
    "Settings",
    "env_name",
    "load_settings",
    "mistakes_for",
    "read_token_secrets",
]
