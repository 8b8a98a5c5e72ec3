"""What lets us in at fal, and others in at our console. Imports nothing heavy."""

import secrets

from consumer.console.api import ConsoleToken, parse_tokens
from consumer.fal.credentials import Credential, file_credential, fixed_credential
from consumer.folder import DataFolder
from consumer.settings import Settings


def fal_credential(settings: Settings) -> Credential | None:
    """Return the configured fal credential, or None."""
    if settings.fal_key_file is not None:
        return file_credential(settings.fal_key_file)
    if settings.fal_key is not None:
        return fixed_credential(settings.fal_key.get_secret_value())
    return None


def console_tokens(settings: Settings, folder: DataFolder) -> tuple[ConsoleToken, ...]:
    """Return the named tokens, made at first start where none are configured. ConfigError."""
    path = settings.console_tokens_file or folder.made_secret(
        folder.console_tokens, line=f"admin:operate:{secrets.token_urlsafe(32)}"
    )
    return parse_tokens(path.read_text(encoding="utf-8"))
