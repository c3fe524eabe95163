"""Networks of one cell trained side by side: their steps, their parameters, Adam (needs PyTorch)."""
