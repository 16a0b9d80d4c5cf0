"What is too much to try in each run of the tests: a sample of it, or all of it if asked."
import os
import random

everything = os.environ.get('GENOPT_WHOLE') == '1'


def sampled(items, count, seed=0):
    "All items with GENOPT_WHOLE=1 in the environment, and else `count` of them, always the same."
    items = [*items]
    if everything or len(items) <= count: return items
    return random.Random(str(seed)).sample(items, count)
