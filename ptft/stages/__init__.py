"""One folder a stage: recipe.py (its knobs, no torch) and run.py (its work)."""
