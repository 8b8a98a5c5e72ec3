"""Where files may come from: fal's places, those that are named, and no other."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.media.addresses import is_public
from consumer.media.naming import extension_of, stem_of
from consumer.media.places import (
    FAL_PLACES,
    MediaRefused,
    is_place,
    parse_place,
    source_of,
    urls_of,
)


@pytest.mark.parametrize(
    "url",
    [
        "https://v3b.fal.media/files/b/0aa27b79/OsiM012ybgyaMyimaZtHJ_UJCN47Sp.png",
        "https://v3.fal.media/files/lion/O853qAknYZGU8_2QCbJwd.jpeg",
        "https://fal.media/files/x.png?token=a%2Fb",
        "https://storage.googleapis.com/falserverless/a/b.png",
        "https://V3.FAL.MEDIA:443/files/x.png#top",
    ],
)
def test_files_of_fal_may_be_fetched(url):
    """Recorded addresses of fal's files lie in its places."""
    assert url.partition("#")[0] == source_of(url, FAL_PLACES).url


@pytest.mark.parametrize(
    "url, reason",
    [
        ("https://example.com/files/x.png", "foreign_host"),
        ("https://evilfal.media/x.png", "foreign_host"),
        ("https://fal.media.example.com/x.png", "foreign_host"),
        ("https://fal.media./x.png", "foreign_host"),
        ("https://v3.fal.media:8443/x.png", "foreign_host"),
        ("http://v3.fal.media/x.png", "foreign_host"),
        ("https://storage.googleapis.com/other/x.png", "foreign_host"),
        ("https://storage.googleapis.com/falserverless", "foreign_host"),
        ("https://storage.googleapis.com/falserverless-evil/x.png", "foreign_host"),
        ("https://storage.googleapis.com/falserverless/../other/x.png", "bad_url"),
        ("https://storage.googleapis.com/falserverless/%2e%2e/other/x.png", "bad_url"),
        ("https://storage.googleapis.com/falserverless/..%2fother/x.png", "bad_url"),
        ("https://v3.fal.media/a%00b.png", "bad_url"),
        ("https://user@v3.fal.media/x.png", "bad_url"),
        ("https://example.com\\@v3.fal.media/x.png", "bad_url"),
        ("https://v3.fal.media\n.example.com/x.png", "bad_url"),
        ("https://v3.fal.media/x y.png", "bad_url"),
        ("https://v3.fal.media:99999/x.png", "bad_url"),
        ("https://[v3.fal.media/x.png", "bad_url"),
        ("file:///etc/passwd", "bad_url"),
        ("ftp://v3.fal.media/x.png", "bad_url"),
        ("https:///x.png", "bad_url"),
        ("https://127.0.0.1/x.png", "foreign_host"),
        ("https://[::1]/x.png", "foreign_host"),
        ("https://169.254.169.254/latest/meta-data", "foreign_host"),
        ("https://v3.fal.media/" + "x" * 5000, "bad_url"),
    ],
)
def test_other_addresses_are_refused(url, reason):
    """What lies elsewhere, or could be read in two ways, is not fetched."""
    with pytest.raises(MediaRefused) as caught:
        source_of(url, FAL_PLACES)

    assert reason == caught.value.reason


@given(st.text())
def test_whatever_text_is_judged(text):
    """Any text is a source in a place, or refused, and nothing else happens."""
    for url in (text, f"https://{text}", f"https://v3.fal.media/{text}"):
        try:
            source = source_of(url, FAL_PLACES)
        except MediaRefused:
            continue
        assert source.host == "fal.media" or source.host.endswith(".fal.media")


@pytest.mark.parametrize(
    "text, url",
    [
        ("cdn.example.com", "https://cdn.example.com/x.png"),
        ("cdn.example.com/files", "https://cdn.example.com/files/x.png"),
        ("*.example.com/files/", "https://a.b.example.com/files/x.png"),
        ("https://cdn.example.com:8443/", "https://cdn.example.com:8443/x.png"),
        ("http://127.0.0.1:9400/files/", "http://127.0.0.1:9400/files/x.png"),
        ("http://[::1]:9400/", "http://[::1]:9400/x.png"),
        ("http://localhost:9400", "http://localhost:9400/x.png"),
    ],
)
def test_a_place_can_be_named(text, url):
    """A setting adds places: a host, all below one, a path, or this machine with its port."""
    assert url == source_of(url, [parse_place(text)]).url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.*",
        "com",
        "http://cdn.example.com/",
        "cdn.example.com/a/../b/",
        "cdn.example.com/a?b",
        "user@cdn.example.com",
        "10.0.0.1",
        "2130706433",
        "0x7f.1",
        "a..b",
        "cdn.example.com/%2e%2e/",
        "cdn.example.com:0",
        "cdn.example.com:x",
        "ftp://cdn.example.com",
        "-a.example.com",
    ],
)
def test_what_is_no_place_is_a_mistake(text):
    """A name that means no one host and path is not taken."""
    assert not is_place(text)


def test_a_wildcard_is_not_the_host_itself():
    """`*.example.com` holds what is below it."""
    with pytest.raises(MediaRefused):
        source_of("https://example.com/x.png", [parse_place("*.example.com")])


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "198.18.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fec0::1",
        "ff0e::1",
        "2001:db8::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2001::1",
    ],
)
def test_addresses_of_no_open_network_are_not_public(address):
    """Private, local, shared, reserved, multicast; also inside an IPv6 address."""
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "34.56.20.205", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_of_the_open_internet_are_public(address):
    """What anybody may reach is public."""
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_the_one_inside(address):
    """IPv4 inside IPv6 opens no other door than the address itself."""
    mapped = ipaddress.IPv6Address(f"::ffff:{address}")
    nat64 = ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) + int(address))

    assert is_public(address) == is_public(mapped) == is_public(nat64)


def test_an_output_names_each_file_once():
    """Files are listed in the output's order, plain http among them, text that is none not."""
    output = {
        "images": [{"url": "https://a.example/1"}, {"url": "https://a.example/1"}],
        "video_url": "http://127.0.0.1:9400/2",
        "text": "https://a.example/3",
    }

    assert ["https://a.example/1", "http://127.0.0.1:9400/2"] == urls_of(output)


@given(st.text())
def test_an_extension_is_always_one_of_ours(content_type):
    """Whatever a content type says, the extension is a dot and a few letters or digits."""
    extension = extension_of(content_type)

    assert extension.startswith(".")
    assert extension[1:].isalnum()
    assert extension.isascii()


def test_a_stem_counts_from_one():
    """The name of a file is its request's id and its number."""
    assert "019f6af7-01" == stem_of("019f6af7", 1)
