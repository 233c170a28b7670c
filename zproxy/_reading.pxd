"""Reading: what the bytes of a readable connection become.

    readv ─► inbox.next ─► a whole message ─► request_pass, reply_pass
                      └──► a command ─► peering ─► peer_join, or the connection's end

Called by the turn only, before anything is written. Every connection has its share of a turn; who may be read at
all is intake's to say.
"""

from zproxy._fastpath cimport Fastpath

cdef enum:
    READ_TURN_BYTES = 262144    # most that one connection is read in a turn; then the others have theirs

# Each connection that may be read has one share.
cdef void read_all(Fastpath* path) noexcept nogil
