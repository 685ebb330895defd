"""An image at rest and in transit: names, digests, the OCI model, the content store, archives, and registries.

Imports nothing else of pybuild. Talking to a registry lives in `pybuild.registry.client` and `.transfer`, which
are imported when they are needed: they bring requests with them.
"""

from pybuild.registry.config import Healthcheck, History, ImageConfig, RunConfig
from pybuild.registry.digest import Digest
from pybuild.registry.errors import RegistryError
from pybuild.registry.model import Descriptor, Index, Manifest
from pybuild.registry.platform import Platform
from pybuild.registry.reference import Reference
from pybuild.registry.store import Image, Store

__all__ = [
    "Descriptor",
    "Digest",
    "Healthcheck",
    "History",
    "Image",
    "ImageConfig",
    "Index",
    "Manifest",
    "Platform",
    "Reference",
    "RegistryError",
    "RunConfig",
    "Store",
]
