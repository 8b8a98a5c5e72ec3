"""Where the fal key is read, and read again."""

import pytest

from consumer.fal import environment_credential, file_credential, fixed_credential


def test_fixed_key_stays():
    """A key given once is the same after reading again, and not shown."""
    credential = fixed_credential("id:secret")
    credential.reread()

    assert credential.key == "id:secret"
    assert "secret" not in repr(credential)


def test_rotated_file_is_seen_after_rereading(tmp_path):
    """A new text in the file counts once it is read again."""
    path = tmp_path / "key"
    path.write_text("id:old\n")
    credential = file_credential(path)
    path.write_text("id:new\n")
    assert credential.key == "id:old"

    credential.reread()

    assert credential.key == "id:new"


@pytest.mark.parametrize("content", [b"", b"two\nlines", b"a\x00b", b"\xff", b"a b", b"x" * 2000])
def test_unusable_file_keeps_the_key_at_hand(tmp_path, content):
    """A file caught in the middle of its rotation does not take the key away."""
    path = tmp_path / "key"
    path.write_text("id:old")
    credential = file_credential(path)
    path.write_bytes(content)

    credential.reread()

    assert credential.key == "id:old"


def test_absent_file_is_no_key_until_it_appears(tmp_path):
    """A missing file is no key and no error; it is found when it is there."""
    path = tmp_path / "key"
    credential = file_credential(path)
    assert credential.key is None

    path.write_text("id:secret")
    credential.reread()

    assert credential.key == "id:secret"


def test_the_environment_names_a_key_as_fals_own_clients_do(tmp_path):
    """A file is first, then FAL_KEY, then id and secret; half a key or a broken one is none."""
    path = tmp_path / "key"
    path.write_text("id:file")
    parts = {"FAL_KEY_ID": "id", "FAL_KEY_SECRET": "secret"}

    def key(environ):
        credential = environment_credential(environ)
        return credential and credential.key

    assert key({"FAL_KEY_FILE": str(path), "FAL_KEY": "id:key", **parts}) == "id:file"
    assert key({"FAL_KEY": "id:key\n", **parts}) == "id:key"
    assert key(parts) == "id:secret"
    assert key({"FAL_KEY_ID": "id"}) is None
    assert key({"FAL_KEY": "a b"}) is None
    assert key({}) is None
