"""How many examples are drawn: few in the suite, the same ones every time; many with the profile "deep"."""

from hypothesis import Phase, settings

FIXED = {"derandomize": True, "database": None, "deadline": None, "phases": [Phase.generate]}
settings.register_profile("suite", max_examples=2, **FIXED)
settings.register_profile("deep", max_examples=100, **FIXED)
settings.load_profile("suite")
