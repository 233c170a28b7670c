"""Random: splitmix64, of a state whose start decides all that follows: to spread, not to surprise.

Guy Steele, Doug Lea, Christine Flood: Fast splittable pseudorandom number generators, OOPSLA 2014.
"""

from libc.stdint cimport uint64_t


# Every bit of the result depends on every bit of the word.
cdef inline uint64_t mixed(uint64_t word) noexcept nogil:
    word = (word ^ word >> 30) * <uint64_t>0xBF58476D1CE4E5B9
    word = (word ^ word >> 27) * <uint64_t>0x94D049BB133111EB
    return word ^ word >> 31


# The next number.
cdef inline uint64_t random_next(uint64_t* state) noexcept nogil:
    state[0] += <uint64_t>0x9E3779B97F4A7C15
    return mixed(state[0])
