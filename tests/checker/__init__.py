"""An image checker of our own, written from the OCI image specification and sharing no code with pybuild.

    check_layout(folder)              every image of a layout, by its index.json
    check_image(folder, digest)       one manifest or index of it

Both raise `BrokenRules`, which lists every rule that is broken and where. Layers that history calls pybuild's, and all of them
with `ours=True`, are also held to what pybuild promises beyond the specification: deterministic POSIX headers, parents before
children, no mark without something to hide.
"""

from checker.layout import check_image, check_layout, listing
from checker.report import BrokenRules

__all__ = ["BrokenRules", "check_image", "check_layout", "listing"]
