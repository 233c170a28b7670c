"""Report: who is there and what waits, from the relay's thread to Python; see _report.pyx."""

# ([ServiceRow], [PeerRow]) of a Report, which is freed; of NULL, nobody.
cdef object report_unwrap(void* report)
