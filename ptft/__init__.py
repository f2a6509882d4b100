"""ptft (pre-train, fine-tune): raw text to a small, quantised, evaluated language model, one stage at a time."""

__version__ = "0.1.0"
