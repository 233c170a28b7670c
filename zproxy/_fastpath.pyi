"""Nothing of the fast path is callable from Python; see _fastpath.pxd."""
