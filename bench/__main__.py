"""``python -m bench``: run the measurements and print what they show."""

from bench import blocks, cache

cache.main()
blocks.main()
