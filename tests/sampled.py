"What is too much to try in each run of the tests: a sample of it, or all of it if asked."
import os
import random
from zlib import crc32

everything = os.environ.get('GENOPT_WHOLE') == '1'


def sampled(items, count, seed=0):
    "All items with GENOPT_WHOLE=1 in the environment, and else `count` of them, always the same."
    items = [*items]
    if everything or len(items) <= count: return items
    return random.Random(str(seed)).sample(items, count)


def one_in(n, *names):
    "True for one in `n` of such names, always the same ones; for all with GENOPT_WHOLE=1."
    return everything or crc32(' '.join(names).encode()) % n == 0
