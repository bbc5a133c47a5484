"""Where the checkout lies, for tests of any depth."""

from pathlib import Path

TESTS = Path(__file__).resolve().parent
CHECKOUT = TESTS.parent
MODELS = sorted((CHECKOUT / "models").glob("*.onnx"))
