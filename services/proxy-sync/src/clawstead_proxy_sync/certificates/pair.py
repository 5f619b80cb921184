"""Whether key and chain may be served for the domain. Imported only for new ones: ``cryptography`` costs 10 MB."""

import hashlib
import re
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from clawstead_proxy_sync.ports import PairFacts

_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)


class UnusablePairError(Exception):
    """This key and chain must not be served for the domain."""


def judge(content: bytes, domain: str, *, now: datetime | None) -> PairFacts:
    """Return what a file with a key and the chain that belongs to it holds; without ``now``, whatever its dates are.

    Raises:
        UnusablePairError: key and certificate do not belong together, it is for other names, or not for now.
    """
    facts = read(content)
    if missing := {domain, f"*.{domain}"} - set(facts.names):
        raise UnusablePairError(f"the certificate is not for {' and '.join(sorted(missing))}")
    if now and facts.not_after <= now:
        raise UnusablePairError(f"the certificate has expired at {facts.not_after:%Y-%m-%d %H:%M} UTC")
    if now and facts.not_before > now:
        raise UnusablePairError(f"the certificate is not valid before {facts.not_before:%Y-%m-%d %H:%M} UTC")
    return facts


def read(content: bytes) -> PairFacts:
    """Return what a file with a key and the chain that belongs to it holds.

    Raises:
        UnusablePairError: it is not whole, or they do not belong together.
    """
    key = _KEY.search(content)
    try:
        chain = x509.load_pem_x509_certificates(content)
        private = load_pem_private_key(key[0] if key else b"", password=None)
    except (ValueError, TypeError) as error:
        raise UnusablePairError(f"key or certificate cannot be read: {error}") from error
    if private.public_key() != chain[0].public_key():
        raise UnusablePairError("the key does not belong to the certificate")
    return facts_of(chain[0])


def facts_of(certificate: x509.Certificate) -> PairFacts:
    """Return what one certificate says of itself."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(extension.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        names = ()
    return PairFacts(
        serial=f"{certificate.serial_number:x}",
        fingerprint=hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        names=names,
        issuer=certificate.issuer.rfc4514_string(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )
