"""What an instance costs, and what a question costs, while the archive grows.

Invariant: rows go in by the product's own writer, questions are the product's own views, and every
axis grows alone. It must not judge a rate: it compares costs along an axis inside one run.
"""

from load.growth.command import run_growth
from load.growth.options import Axis, GrowthOptions

__all__ = ["Axis", "GrowthOptions", "run_growth"]
