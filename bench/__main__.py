"""``python -m bench``: run the measurements and print what they show."""

from bench import cache

cache.main()
