"""zolal: a web server for Python that you can see through."""

from zolal._zolal import version as __version__

__all__ = ["__version__"]
