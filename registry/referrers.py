"""What refers to a manifest: signatures, attestations, bills of materials. The registry's list of it, or a tag in its place.

Source: distribution-spec, "Listing Referrers", "Pushing Manifests with Subject", "Deleting Manifests", "Referrers Tag Schema".
"""

from __future__ import annotations

from collections.abc import Mapping

from pybuild.registry import media
from pybuild.registry.digest import Digest
from pybuild.registry.errors import NotInRegistry, UnexpectedAnswer
from pybuild.registry.model import Descriptor, Index
from pybuild.registry.parts import Parts
from pybuild.registry.repository import Repository, next_page

_MOST_PAGES = 100


def referrers(repository: Repository, digest: Digest) -> tuple[Descriptor, ...]:
    """All that refers to a manifest. Raises TransferError, InvalidDocument."""
    found = _listed(repository, digest)
    if found is not None:
        return found
    index = _tagged(repository, digest)
    return index.manifests if index else ()


def announce(repository: Repository, manifest: Parts, headers_of_answer: Mapping[str, str]) -> None:
    """Make a manifest with a subject, which was put just now, known where the registry has not done it itself.

    Raises TransferError. Two at once may lose one of them: the specification has no way around that.
    """
    if manifest.subject is None or "oci-subject" in headers_of_answer:
        return
    subject = manifest.subject.digest
    before = _tagged(repository, subject)
    known = before.manifests if before else ()
    if any(item.digest == manifest.descriptor.digest for item in known):
        return
    repository.put_manifest(_Listing(Index.build((*known, manifest.referrer))), fallback_tag(subject))


def withdraw(repository: Repository, manifest: Parts) -> None:
    """Take a manifest with a subject, which was deleted just now, out of the tag that stands in for the registry's list.

    Raises TransferError, InvalidDocument.
    """
    if manifest.subject is None or _listed(repository, manifest.subject.digest) is not None:
        return
    before = _tagged(repository, manifest.subject.digest)
    kept = tuple(item for item in before.manifests if item.digest != manifest.descriptor.digest) if before else ()
    if before and kept != before.manifests:
        repository.put_manifest(_Listing(Index.build(kept)), fallback_tag(manifest.subject.digest))


def fallback_tag(digest: Digest) -> str:
    """The tag that stands in for the list of referrers."""
    return digest.replace(":", "-", 1)


class _Listing:
    def __init__(self, index: Index) -> None:
        self.raw, self.media_type = index.raw, index.media_type
        self.descriptor = Descriptor.of(index.raw, index.media_type)


def _listed(repository: Repository, digest: Digest) -> tuple[Descriptor, ...] | None:
    """The registry's own list; None where it keeps none."""
    found: list[Descriptor] = []
    subject = f"{repository.name}@{digest}: referrers"
    try:
        answer = repository.ask("GET", f"referrers/{digest}", subject=subject, accept=(200,))
    except (NotInRegistry, UnexpectedAnswer) as error:
        # One that does not know the list says 404, older ones that there is no such path, or no such method.
        if isinstance(error, UnexpectedAnswer) and error.status not in (400, 405, 501):
            raise
        return None
    for _ in range(_MOST_PAGES):
        found += Index.parse(answer.content, media.OCI_INDEX, subject).manifests
        target = next_page(answer)
        if target is None:
            break
        answer = repository.client.request("GET", target, subject=subject, scopes=repository.scopes, accept=(200,))
    return tuple(found)


def _tagged(repository: Repository, digest: Digest) -> Index | None:
    tag = fallback_tag(digest)
    try:
        content, kind = repository.manifest(tag)
    except NotInRegistry:
        return None
    return Index.parse(content, kind, f"{repository.name}:{tag}")
