"""A certificate and its key, checked one by one so that an error names the one that is wrong.

`serve` checks them before it starts anything; each worker reads them when it starts, so that a new certificate is taken
by replacing the workers (SIGHUP). What a connection does with them is in `tls_transport.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL

if TYPE_CHECKING:
    from twisted.internet.ssl import CertificateOptions

__all__ = ["Pair", "TlsError", "read_pair"]

PROTOCOLS = (b"h2", b"http/1.1")
"""What the handshake may agree on (ALPN), the better one first."""
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption, which leaves none that RFC 9113 appendix A forbids."""


class TlsError(Exception):
    """The files can't be used.

    Args:
        field: the setting that names the wrong one, `tls_cert` or `tls_key`. reason: what is wrong with it.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate, those that vouch for it, and its key."""

    chain: Sequence[x509.Certificate]
    key: Any

    @property
    def names(self) -> list[str]:
        """Host names and addresses that the certificate is for."""
        try:
            names = self.chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return []
        return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]

    @property
    def expires_at(self) -> datetime:
        """When clients begin to refuse it."""
        return self.chain[0].not_valid_after_utc

    def to_options(self) -> CertificateOptions:
        """What makes the TLS half of a connection: TLS 1.2 or 1.3, without compression and renegotiation."""
        from twisted.internet import ssl  # not at the head: `serve` checks the files before it knows its loop

        chain: Any = self.chain  # pyOpenSSL takes these, and warns of its own kind
        first, *others = chain
        ciphers: Any = ssl.AcceptableCiphers
        options = ssl.CertificateOptions(
            privateKey=self.key,
            certificate=first,
            extraCertChain=others,
            raiseMinimumTo=ssl.TLSVersion.TLSv1_2,
            acceptableCiphers=ciphers.fromOpenSSLCipherString(_CIPHERS),
            acceptableProtocols=list(PROTOCOLS),
            enableSessionTickets=True,  # a reader that comes back saves us the signature, most of a handshake's cost
        )
        options._options |= SSL.OP_NO_RENEGOTIATION  # a client could ask for one handshake after the other
        return options


def read_pair(certificate: Path, key: Path) -> Pair:
    """Read and check both files.

    Raises: TlsError: for the first thing that is wrong.
    """
    try:
        chain = x509.load_pem_x509_certificates(_read("tls_cert", certificate))
    except ValueError as error:
        raise TlsError("tls_cert", f"has no certificate in PEM form ({error})") from error
    try:
        private = serialization.load_pem_private_key(_read("tls_key", key), password=None)
    except TypeError as error:
        raise TlsError("tls_key", "is encrypted; nobody is there to type its password when the site starts") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TlsError("tls_key", "has no private key in PEM form") from error
    try:
        matches = private.public_key() == chain[0].public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TlsError("tls_cert", "has a key of a kind that is not known here") from error
    if not matches:
        raise TlsError(
            "tls_key", f"is not the key of the certificate in {certificate}, whose own certificate has to come first"
        )
    pair = Pair(chain, private)
    try:
        pair.to_options().getContext()
    except (ValueError, TypeError, SSL.Error) as error:
        raise TlsError("tls_cert", f"is not taken by OpenSSL: {error}") from error
    return pair


def _read(field: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(field, f"can't be read: {error.strerror or error}") from error
